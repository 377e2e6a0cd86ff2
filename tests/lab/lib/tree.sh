# shellcheck shell=bash
# The Debian tree all hosts share, read-only under their overlays. Named by the hash of its recipe: `tree`, or `tree-NAME` for a
# lab whose hosts have more packages.

# tree_path [RECIPE]
tree_path() {
    case ${1:-tree} in
    tree) echo "$CACHE/tree-$(recipe_hash tree lib/bootstrap.sh)" ;;
    *) echo "$CACHE/$1-$(recipe_hash tree "$1" lib/bootstrap.sh)" ;;
    esac
}

# tree_build [RECIPE]
tree_build() {
    need_root
    local tree tmp
    [[ -d $LAB_DIR/${1:-tree} ]] || die "no recipe of a tree: ${1#tree-}"
    tree=$(tree_path "$@")
    [[ ! -d $tree ]] || return 0
    machine_install
    lock_cache tree
    if [[ ! -d $tree ]]; then
        say "building the host tree (about a minute, once)"
        rm -rf --one-file-system "$CACHE"/tree.tmp.* # of a run that was killed: the lock is ours
        tmp=$CACHE/tree.tmp.$$
        bootstrap "${1:-tree}" "$tmp"
        mv "$tmp" "$tree"
    fi
    unlock_cache
}
