# shellcheck shell=bash
# Debian 13 trees and layers, and the hash that names them. This file is part of every recipe: changing it rebuilds.

# recipe_hash PATH...: of files and folders below this lab's own, by name and content.
recipe_hash() {
    (cd "$LAB_DIR" && find "$@" -type f ! -name '*.pyc' -print0 | sort -z | xargs -0r sha256sum | sha256sum | cut -c1-16)
}

# The Debian mirror this machine uses itself.
mirror() {
    local codename
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    # shellcheck disable=SC2016 # apt's own placeholders
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v c="$codename" '$2 == c && $3 == "main" { print $1; exit }' | grep . || die "no Debian mirror in apt's sources"
}

# bootstrap FOLDER TREE: builds TREE from FOLDER/packages and FOLDER/customize.
bootstrap() {
    local recipe=$LAB_DIR/$1 tree=$2
    # Documentation is a third of the files; without fsync dpkg is twice as fast, and a broken build is thrown away.
    # In a mount namespace of its own: a build that is killed leaves no /proc or /dev mounted in the tree.
    unshare --mount mmdebstrap --quiet --variant=minbase --include="$(grep -v '^#' "$recipe/packages" | paste -sd,)" \
        --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        trixie "$tree" "deb $(mirror) trixie main" || die "building $1 failed"
    # What the build borrowed from this machine: its name server, name and mirror.
    rm -rf "$tree"/etc/{resolv.conf,hostname,apt/sources.list} "$tree"/etc/apt/apt.conf.d/*mmdebstrap \
        "$tree"/var/{lib/apt/lists,cache/apt}/*
    find "$tree/var/log" -type f -delete
    "$recipe/customize" "$tree"
}

# layer_tar FOLDER TAR TIME [TAR-OPTION...]: an image layer that depends on nothing but the files; prints its diff id. What is
# newer than TIME gets that time.
layer_tar() {
    tar --create --file="$2" --directory="$1" --sort=name --numeric-owner --mtime="@$3" --clamp-mtime --format=gnu "${@:4}" .
    sha256sum "$2" | cut -d' ' -f1
}
