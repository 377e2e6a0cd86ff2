# shellcheck shell=bash
# Docker images without a registry: a base layer of Debian packages, and per image one thin layer of files. Images belong to
# sets; only the sets that are asked for are built and loaded.
#
#   $CACHE/images/BASE-HASH/        layer.tar id         a base layer and its diff id
#   $CACHE/images/NAME_TAG-HASH/    manifest.json, CONFIG.json, DIFFID.tar...: a docker-save archive, not yet packed
#   $CACHE/images/seed-HASH/        /var/lib/docker of a host that has loaded all of some sets

IMAGES=$LAB_DIR/images

images_all()        { jq -cs add "$IMAGES"/*.json; }
images_sets()       { images_all | jq -r 'map(.sets[]) | unique[]'; }
images_definition() { images_all | jq -ce --arg tag "$1" 'map(select(.tags[$tag]))[0] | values | .files = .tags[$tag] | del(.tags, .sets)' || die "no image $1"; }
images_base()       { echo "$CACHE/images/$1-$(recipe_hash "images/$1" lib/bootstrap.sh)"; }
images_base_of()    { images_definition "$1" | jq -r .base; }

# images_tags SET...: the images of these sets.
images_tags() {
    local sets
    sets=$(jq -cn '$ARGS.positional' --args "$@")
    images_all | jq -r --argjson sets "$sets" 'map(select(any(.sets[]; IN($sets[]))) | .tags | keys[]) | unique[]'
}

# images_check_sets SET...
images_check_sets() {
    local set known
    mapfile -t known < <(images_sets)
    for set; do [[ " ${known[*]} " == *" $set "* ]] || die "no set of images '$set'; there are: ${known[*]}"; done
}

# images_path TAG: where its archive is, named by everything that is in it.
images_path() {
    local definition folders
    definition=$(images_definition "$1")
    mapfile -t folders < <(jq -r '"images/" + .files[]' <<<"$definition")
    echo "$CACHE/images/${1//[:\/]/_}-$({ basename "$(images_base "$(jq -r .base <<<"$definition")")"; echo "$definition"; recipe_hash lib/images.sh "${folders[@]}"; } |
        sha256sum | cut -c1-16)"
}

# images_id TAG: the id that docker gives it.
images_id() { jq -r '"sha256:" + (.[0].Config | rtrimstr(".json"))' "$(images_path "$1")/manifest.json"; }

images_build_base() {
    local base newest tmp=$CACHE/images/base.tmp
    base=$(images_base "$1")
    [[ ! -d $base ]] || return 0
    say "building the base layer '$1' of the images (about a minute, once)"
    rm -rf --one-file-system "$tmp"
    mkdir -p "$tmp"
    bootstrap "images/$1" "$tmp/tree"
    # Source files keep their times: Python compares them with those in the compiled files, and without these an app starts
    # four times slower.
    newest=$(find "$tmp/tree/usr/lib" -name '*.py' -printf '%T@\n' | sort -n | tail -n 1)
    layer_tar "$tmp/tree" "$tmp/layer.tar" "${newest%.*}" --exclude=./dev/* --exclude=./proc/* --exclude=./sys/* >"$tmp/id"
    rm -rf "$tmp/tree"
    mv "$tmp" "$base"
}

images_build_one() {
    local tag=$1 path tmp=$CACHE/images/image.tmp definition folder layers=() config base
    path=$(images_path "$tag")
    [[ ! -d $path ]] || return 0
    definition=$(images_definition "$tag")
    base=$(images_base "$(jq -r .base <<<"$definition")")
    rm -rf "$tmp"
    mkdir -p "$tmp/archive"
    layers=("$(<"$base/id")")
    ln "$base/layer.tar" "$tmp/archive/${layers[0]}.tar"
    if [[ $(jq '.files | length' <<<"$definition") != 0 ]]; then
        # Later folders lie over earlier ones: a release is its predecessor and what changed.
        while read -r folder; do
            mkdir -p "$tmp/rootfs/$(jq -r .into <<<"$definition")"
            cp -r --preserve=mode "$IMAGES/$folder/." "$tmp/rootfs/$(jq -r .into <<<"$definition")"
        done < <(jq -r '.files[]' <<<"$definition")
        find "$tmp/rootfs" -name __pycache__ -prune -exec rm -rf {} +
        layers+=("$(layer_tar "$tmp/rootfs" "$tmp/layer.tar" 0 --owner=0 --group=0)")
        mv "$tmp/layer.tar" "$tmp/archive/${layers[1]}.tar"
    fi
    jq -cS --arg arch "$(dpkg --print-architecture)" \
        '{architecture: $arch, os: "linux", created: "2025-01-01T00:00:00Z", config,
          rootfs: {type: "layers", diff_ids: [$ARGS.positional[] | "sha256:" + .]},
          history: [$ARGS.positional[] | {created: "2025-01-01T00:00:00Z", created_by: "lab images"}]}' \
        --args "${layers[@]}" <<<"$definition" >"$tmp/config.json"
    config=$(sha256sum "$tmp/config.json" | cut -d' ' -f1).json
    mv "$tmp/config.json" "$tmp/archive/$config"
    jq -cn --arg config "$config" --arg tag "$tag" \
        '[{Config: $config, RepoTags: [$tag], Layers: [$ARGS.positional[] + ".tar"]}]' \
        --args "${layers[@]}" >"$tmp/archive/manifest.json"
    mv "$tmp/archive" "$path"
    rm -rf "$tmp"
}

# images_build [SET...] | --only TAG: prints tag, id and archive folder.
images_build() {
    need_root
    local tag tags base bases
    if [[ ${1:-} == --only ]]; then
        tags=("${2:?--only NAME}")
    else
        (($#)) || set -- chatbot
        images_check_sets "$@"
        mapfile -t tags < <(images_tags "$@")
    fi
    machine_install
    lock_cache images
    mapfile -t bases < <(for tag in "${tags[@]}"; do images_base_of "$tag"; done | sort -u)
    for base in "${bases[@]}"; do images_build_base "$base"; done
    for tag in "${tags[@]}"; do images_build_one "$tag"; done
    unlock_cache
    for tag in "${tags[@]}"; do printf '%s\t%s\t%s\n' "$tag" "$(images_id "$tag")" "$(images_path "$tag")"; done
}

# images_archive TAG [TAR-OPTION...]: the docker-save archive, to stdout.
images_archive() {
    local path
    path=$(images_path "$1")
    [[ -d $path ]] || die "image $1 is not built (run: lab images)"
    tar --create --directory="$path" --sort=name --numeric-owner "${@:2}" .
}

# images_load HOST TAG...: what is there already is not sent again, neither the image nor the base layer.
images_load() {
    local host=${1:?HOST} tag base
    shift
    host_known "$host"
    (($#)) || die "usage: lab load HOST IMAGE..."
    for tag; do
        images_build --only "$tag" >/dev/null
        base=$(<"$(images_base "$(images_base_of "$tag")")/id")
        [[ $(host_exec "$host" docker image inspect -f '{{.Id}}' "$tag" 2>/dev/null) != "$(images_id "$tag")" ]] || continue
        if host_has_layer "$host" "$base"; then
            images_archive "$tag" --exclude="./$base.tar"
        else
            images_archive "$tag"
        fi | host_exec "$host" docker load --quiet
    done
}

host_has_layer() {
    local ids
    mapfile -t ids < <(host_exec "$1" docker image ls --quiet --no-trunc)
    ((${#ids[@]})) && host_exec "$1" docker image inspect -f '{{json .RootFS.Layers}}' "${ids[@]}" | grep -q "sha256:$2"
}

# images_seed SET...: named by what is in all these images; every `up` asks, so it takes no process for each of them.
images_seed() {
    local sets definitions bases folders base
    sets=$(jq -cn '$ARGS.positional' --args "$@")
    definitions=$(images_all | jq -c --argjson sets "$sets" 'map(select(any(.sets[]; IN($sets[]))) | del(.sets))')
    mapfile -t bases < <(jq -r 'map(.base) | unique[]' <<<"$definitions")
    mapfile -t folders < <(jq -r '[.[].tags[][]] | unique[] | "images/" + .' <<<"$definitions")
    echo "$CACHE/images/seed-$({
        tree_path
        echo "$definitions"
        for base in "${bases[@]}"; do images_base "$base"; done
        recipe_hash lib/images.sh "${folders[@]}"
    } | sha256sum | cut -c1-16)"
}

# images_seed_build SET...: /var/lib/docker as it is after loading all their images, taken from a host once.
images_seed_build() {
    local seed tags
    images_check_sets "$@"
    seed=$(images_seed "$@")
    [[ ! -d $seed ]] || return 0
    images_build "$@" >/dev/null
    lock_cache seed
    if [[ ! -d $seed ]]; then
        say "loading the images of $* once"
        mapfile -t tags < <(images_tags "$@")
        trap 'images_seed_lab down' EXIT
        images_seed_lab down
        images_seed_lab up 1 >/dev/null
        images_seed_lab load host1 "${tags[@]}" >/dev/null
        images_seed_lab stop host1
        rm -rf "$seed.tmp"
        mkdir "$seed.tmp"
        # Only the images: what else dockerd writes there, its identity and networks, is each host's own.
        mv "$CACHE"/disks/imgseed/host1/docker/{image,overlay2} "$seed.tmp"
        mv "$seed.tmp" "$seed"
        images_seed_lab down
        trap - EXIT
    fi
    unlock_cache
}

images_seed_lab() { LAB_ID=imgseed LAB_OWNER_PID=$$ "$LAB_DIR/lab" "$@" 9>&-; }

# images_seed_into SEED DIR: a second's work instead of half a minute of loading. Layers are linked, since docker never changes a
# file of a layer; the rest is small, changes in place, and is copied.
images_seed_into() {
    cp -al "$1/overlay2" "$2/overlay2"
    cp -a "$1/image" "$2/image"
}
