# shellcheck shell=bash
# The Debian tree all hosts share, read-only under their overlays. Named by the hash of its recipe.

tree_path() { echo "$CACHE/tree-$(recipe_hash tree lib/bootstrap.sh)"; }

tree_build() {
    need_root
    local tree tmp
    tree=$(tree_path)
    [[ ! -d $tree ]] || return 0
    machine_install
    lock_cache tree
    if [[ ! -d $tree ]]; then
        say "building the host tree (about a minute, once)"
        rm -rf --one-file-system "$CACHE"/tree.tmp.* # of a run that was killed: the lock is ours
        tmp=$CACHE/tree.tmp.$$
        bootstrap tree "$tmp"
        mv "$tmp" "$tree"
    fi
    unlock_cache
}
