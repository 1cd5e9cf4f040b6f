# shellcheck shell=bash
# test/lib.sh - what the cases share: tools, images to test with, small checks
# SPDX-License-Identifier: Apache-2.0

# ---- tools ----
# Programs that the cases use, and the Debian packages that bring them; what is missing is installed once, by root only.
TOOLS='skopeo:skopeo umoci:umoci docker-registry:docker-registry podman:podman crun:crun htpasswd:apache2-utils openssl:openssl
fsck.erofs:erofs-utils getfattr:attr mmdebstrap:mmdebstrap python3:python3 busybox:busybox-static jq:jq zstd:zstd curl:curl
docker-credential-pass:golang-docker-credential-helpers pass:pass gpg:gnupg expect:expect nginx:nginx-light qemu-system-x86_64:qemu-system-x86
zsh:zsh fish:fish mandoc:mandoc man:man-db groff:groff shellcheck:shellcheck strace:strace
fusermount3:fuse3 newuidmap:uidmap setfacl:acl bsdtar:libarchive-tools'

install_tools() {
	local t missing=()
	for t in $TOOLS; do
		command -v "${t%%:*}" >/dev/null || missing+=("${t#*:}")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		echo "test/run: not installed, and only root can: ${missing[*]}" >&2
		return 0
	fi
	apt_install "${missing[@]}" || echo "test/run: apt-get install failed: ${missing[*]}" >&2
}
apt_install() {
	local p new=()
	for p in docker-registry nginx; do command -v $p >/dev/null || new+=("$p"); done
	export DEBIAN_FRONTEND=noninteractive
	apt-get -qq -y --no-install-recommends install "$@" >/dev/null 2>&1 || {
		apt-get -qq update && apt-get -qq -y --no-install-recommends install "$@"; } >/dev/null 2>&1 || return 1
	# Debian's packages start servers that nobody asked for
	for p in "${new[@]}"; do
		! command -v "$p" >/dev/null || systemctl disable --now "$p" >/dev/null 2>&1 || true
	done
}

# What is downloaded once and kept. (A case has a HOME of its own.)
export FCTEST_CACHE=${FCTEST_CACHE:-${FCPULL_VENDOR_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/fcpull}/test}

# ---- leaving a case ----
skip() { echo "SKIP: $*"; exit 77; }
fail() { echo "FAIL: $*"; exit 1; }
need_root() { [ "$(id -u)" = 0 ] || skip "needs root"; }
need() { local p; for p; do command -v "$p" >/dev/null || skip "$p is not installed"; done; }
need_fuse() { need_root; [ -c /dev/fuse ] || skip "no /dev/fuse"; }

# ---- small things ----
seconds() {	# seconds START: since $EPOCHREALTIME was START, with one decimal
	local us=$((${EPOCHREALTIME/[.,]/} - ${1/[.,]/}))
	echo "$((us / 1000000)).$((us / 100000 % 10))"
}
unmount_below() {	# unmount_below DIR: unmounts what is mounted at or below it, deepest first, and names it
	local m
	{ awk -v d="$1" '$5 == d || index($5, d "/") == 1 { print $5 }' /proc/self/mountinfo | sort -r; } 2>/dev/null | while read -r m; do
		m=$(printf '%b' "$m")
		umount -l "$m" && echo "$m"
	done
}
tree_state() {	# tree_state DIR: names, sizes and contents of all files, to compare before and after
	[ -e "$1" ] || { echo none; return; }
	(cd "$1" && find . -type f -exec sha256sum {} + | sort -k 2; find . ! -type f -printf '%y %p\n' | sort)
}
retry() {	# retry SECONDS COMMAND...: until it succeeds
	local end=$(($(date +%s) + $1)); shift
	until "$@"; do
		[ "$(date +%s)" -lt $end ] || return 1
		sleep 0.1
	done
}
latch() { mkfifo latch; exec 7<>latch; }	# for a `run -i` with `<latch 7>&-`, which reads a line when it is to go on: echo >&7
lock_awaited() { grep -q -- "-> FLOCK .* $1 " /proc/locks; }	# lock_awaited PID: it waits for a lock, flock(2)
# No control group of a container is left: those of a conversion service (serve-PID) may be that of a test beside.
no_groups() {
	local d serving
	# shellcheck disable=SC2044
	for d in $(find /sys/fs/cgroup -maxdepth 2 -name fcpull-run 2>/dev/null); do
		serving=$(find "$d" -mindepth 1 -maxdepth 1 -type d -name 'serve-*' 2>/dev/null)
		[ -n "$serving" ] && [ -z "$(find "$d" -mindepth 1 -maxdepth 1 -type d ! -name 'serve-*' 2>/dev/null)" ] || return 1
	done
}
must_match() {	# must_match PATTERN FILE
	# counted, not -q: a writer whose reader has left dies of SIGPIPE
	[ "$(grep -Eac -e "$1" "$2")" -gt 0 ] && return 0
	echo "no match for: $1"; echo "in $2:"; tail -n 20 "$2"
	return 1
}
must_equal() {	# must_equal WHAT WANTED GOT
	[ "$2" = "$3" ] && return 0
	echo "$1: wanted (-), got (+):"
	diff -U 0 <(echo "$2") <(echo "$3") | tail -n +4 | cut -c 1-200 | head -n 30
	return 1
}
status_is() {	# status_is STATUS COMMAND...
	local want=$1 rc=0; shift
	"$@" || rc=$?
	[ $rc = "$want" ] || { echo "exit $rc, expected $want: $*"; return 1; }
}
# refused PATTERN COMMAND...: it ends with 1 and says PATTERN on stderr in printable text, prints nothing on stdout, and leaves
# no file in TMPDIR, nothing new in the store's blobs and data, and the layouts in $D as they were.
refused() {
	local pattern=$1 before; shift
	mkdir -p "$FCPULL_ROOT"
	before=$(state_of_case)
	status_is 1 "$@" >"$D/refused.out" 2>"$D/refused.err" || { cat "$D/refused.out" "$D/refused.err"; return 1; }
	must_match "$pattern" "$D/refused.err"
	printable "$D/refused.err" || { echo "stderr is not printable"; cat -v "$D/refused.err"; return 1; }
	[ ! -s "$D/refused.out" ] || { echo "stdout is not empty"; cat "$D/refused.out"; return 1; }
	must_equal 'files left behind' "$before" "$(state_of_case)"
}
printable() {	# printable FILE: no control characters, C0 or C1, but newline and tab
	! LC_ALL=C grep -qaP '[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]' "$1"
}
state_of_case() {
	local d
	find "$TMPDIR" -mindepth 1 -printf 'tmp %P\n'
	# lock files, empty directories and the layout's own marks are the store's furniture; a blob that is what its name
	# says does no harm there, anything else does
	find "$FCPULL_ROOT" -type f -path '*/data/*' -printf 'store %P %s\n' | sort
	find "$FCPULL_ROOT" -type f -path '*/blobs/*' -exec sha256sum {} + | awk '{ n = $2; sub(/.*\//, "", n); if (n != $1) print "no blob: " $2 }'
	for d in "$D"/*/index.json; do
		[ ! -e "$d" ] || [ "${d%/*}" = "$FCPULL_ROOT" ] || tree_state "${d%/*}"
	done
}
json() {	# json FILTER FILE: a value, unquoted
	jq -er "$1" "$2"
}

# ---- layouts ----
blob() { echo "$1/blobs/sha256/${2#sha256:}"; }	# blob LAYOUT DIGEST: its file
ref_digest() {	# ref_digest LAYOUT REF: what the name points at
	jq -er --arg r "$2" '.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == $r) | .digest' "$1/index.json"
}
accelerated_digest() {	# accelerated_digest LAYOUT REF [ORIGINAL]: our manifest in the index under REF
	jq -er --arg o "${3-}" '[.manifests[] | select(.artifactType == "application/vnd.fcpull.image.v1")
		| select($o == "" or any(.annotations[]?; . == $o))][0].digest' "$(blob "$1" "$(ref_digest "$1" "$2")")"
}
copy_layout() { cp -al "$1" "$2"; }	# blobs are never changed in place, so links do

# ---- images to test with: made at their first use, kept for the run ----
fixture() {	# fixture NAME: prints its directory
	local dir=$FIXTURES/$1
	if [ ! -e "$dir.done" ]; then
		rm -rf "$dir"
		# a process of its own: `set -e` would be off to the left of ||
		bash "$TESTS/run" --case /dev/null "make_$1" "$dir" >"$dir.log" 2>&1 || { echo "fixture $1:"; tail -n 20 "$dir.log"; return 1; } >&2
		touch "$dir.done"
	fi
	echo "$dir"
}
# The image with everything in it (see torture.py).
make_torture() { python3 "$TESTS/torture.py" --no-big "$1"; }
make_big() { python3 "$TESTS/torture.py" "$1"; }
# What umoci makes of it: the reference tree.
make_torture_umoci() { umoci unpack --image "$(fixture torture):torture-gz" "$1"; }
# torture, converted.
make_torture_fc() {
	copy_layout "$(fixture torture)" "$1"
	FCPULL_ROOT=$1.store "$FCPULL" convert "oci:$1:torture"
}
# A few small images that can run: bb (Cmd), bb-ep (Entrypoint, User, WorkingDir, Env), with a file of 24 MB that nobody reads.
make_small() {
	local w=$1.work a
	mkdir -p "$w/base/bin" "$w/base/etc" "$w/base/tmp" "$w/base/root" "$w/base/proc" "$w/base/sys" "$w/base/dev" "$w/data/data/many" "$w/app/app"
	cp "$(command -v busybox)" "$w/base/bin/busybox"
	for a in $(busybox --list); do [ "$a" = busybox ] || ln -s busybox "$w/base/bin/$a"; done
	chmod 1777 "$w/base/tmp"
	printf '%s\n' root:x:0:0:root:/root:/bin/sh alice:x:1000:1001::/home/alice:/bin/sh >"$w/base/etc/passwd"
	printf '%s\n' root:x:0: users:x:1001:alice extra:x:1002:alice >"$w/base/etc/group"
	python3 - "$w/data/data" <<-'X'
		import random, sys
		r = random.Random(7)
		open(sys.argv[1] + "/unread", "wb").write(r.randbytes(24 << 20))
		for i in range(500):
		    open(f"{sys.argv[1]}/many/{i:03d}", "wb").write(r.randbytes(r.randrange(6000)))
		open(sys.argv[1] + "/little", "w").write("a little file\n")
	X
	# shellcheck disable=SC2016
	printf '#!/bin/sh\necho "hello from $0"\n' >"$w/app/app/hello"
	printf 'not a program\n' >"$w/app/app/text"
	chmod 755 "$w/app/app/hello"; chmod 644 "$w/app/app/text"
	find "$w" -exec touch -h -d @1600000000 {} +
	python3 "$TESTS/oci.py" "$1" bb --config '{"Env": ["PATH=/bin", "FROM_IMAGE=yes"], "Cmd": ["sh", "-c", "echo default command"]}' \
		"$w/base" "$w/data" "$w/app"
	python3 "$TESTS/oci.py" "$1" bb-ep --config '{"Env": ["PATH=/bin"], "Entrypoint": ["/bin/echo", "entry"], "Cmd": ["point"],
		"User": "alice", "WorkingDir": "/srv/work"}' "$w/base" "$w/app"
	python3 "$TESTS/oci.py" "$1" tiny "$w/app"
	rm -rf "$w"
}
# One that is small enough to be read whole under an emulated processor.
make_guest() {
	local w=$1.work a
	mkdir -p "$w/base/bin" "$w/base/proc" "$w/base/sys" "$w/base/dev" "$w/base/tmp" "$w/data/data/many"
	cp "$(command -v busybox)" "$w/base/bin/busybox"
	for a in $(busybox --list); do [ "$a" = busybox ] || ln -s busybox "$w/base/bin/$a"; done
	python3 - "$w/data/data" <<-'X'
		import random, sys
		r = random.Random(9)
		open(sys.argv[1] + "/large", "wb").write(r.randbytes(4 << 20))
		for i in range(200):
		    open(f"{sys.argv[1]}/many/{i:03d}", "wb").write(r.randbytes(r.randrange(9000)))
		open(sys.argv[1] + "/little", "w").write("a little file\n")
	X
	chmod 4711 "$w/data/data/many/007"; chown 12:34 "$w/data/data/many/008"; ln "$w/data/data/many/001" "$w/data/data/linked"
	find "$w" -exec touch -h -d @1600000000 {} +
	python3 "$TESTS/oci.py" "$1" guest --config '{"Env": ["PATH=/bin"], "Cmd": ["sh", "-c", "echo default command"]}' "$w/base" "$w/data"
	rm -rf "$w"
}
make_small_fc() {
	copy_layout "$(fixture small)" "$1"
	local r; for r in bb bb-ep tiny; do FCPULL_ROOT=$1.store "$FCPULL" convert "oci:$1:$r"; done
}
# For gc: images a, b, c of 4 MB each, accelerated; p, not accelerated; a and aa have the same data.
make_gc_images() {
	local n
	for n in a b c p; do
		mkdir -p "$1.$n/data"
		python3 -c 'import random, sys; open(sys.argv[2], "wb").write(random.Random(sys.argv[1]).randbytes(4 << 20))' "$n" "$1.$n/data/$n"
		python3 -c 'import random, sys; open(sys.argv[2], "wb").write(random.Random(sys.argv[1]).randbytes(3000))' "small$n" "$1.$n/data/small"
		python3 "$TESTS/oci.py" "$1" $n "$1.$n"
	done
	cp "$1.a" -r "$1.aa"
	python3 "$TESTS/oci.py" "$1" aa "$1.aa"
	for n in a b c aa; do "$FCPULL" convert -q --root "$1.store" "oci:$1:$n"; done
}
# For rescue: three layers: small files that share chunks, one of several chunks, zeros, contents that lower layers have, and files that upper
# layers hide, whose blocks nothing in the tree names.
make_rescue() {
	local w=$1.work a
	mkdir -p "$w/a/bin" "$w/a/proc" "$w/a/sys" "$w/a/dev" "$w/a/tmp" "$w/a/data/many" "$w/a/data/gone" "$w/b/data/many" "$w/c/data/late"
	cp "$(command -v busybox)" "$w/a/bin/busybox"
	for a in sh cat find sort sha256sum xargs sleep; do ln -s busybox "$w/a/bin/$a"; done
	python3 - "$w" <<-'X'
		import os, random, sys
		w, r = sys.argv[1], random.Random(11)
		def put(name, data): open(w + "/" + name, "wb").write(data)
		for i in range(150): put(f"a/data/many/{i:03d}", r.randbytes(r.randrange(9000)))
		put("a/data/large", r.randbytes(1500000))
		put("a/data/zeros", bytes(700000))
		put("a/data/holes", r.randbytes(5000) + bytes(400000) + r.randbytes(5000))
		put("a/data/replaced", r.randbytes(300000))
		for i in range(40): put(f"a/data/gone/{i}", r.randbytes(3000))
		# the upper ones hide some of it, and have some of it again
		put("b/data/replaced", r.randbytes(5000))
		put("b/data/.wh.gone", b"")
		for i in range(0, 150, 7): put(f"b/data/many/{i:03d}", r.randbytes(2000))
		put("b/data/again", open(w + "/a/data/large", "rb").read())
		put("c/data/late/again", open(w + "/a/data/gone/7", "rb").read())
		put("c/data/late/same", open(w + "/b/data/replaced", "rb").read())
		put("c/data/many-again", open(w + "/a/data/many/003", "rb").read())
		put("c/data/last", r.randbytes(200000))
		os.link(w + "/a/data/large", w + "/a/data/linked")
	X
	find "$w" -exec touch -h -d @1600000000 {} +
	python3 "$TESTS/oci.py" "$1" x --config '{"Env": ["PATH=/bin"], "Cmd": ["sh"]}' "$w/a" "$w/b" "$w/c"
	rm -rf "$w"
}
make_rescue_umoci() { umoci unpack --image "$(fixture rescue):x" "$1"; }
make_rescue_fc() {
	copy_layout "$(fixture rescue)" "$1"
	printf '0.%d /data/many/%03d 0 9000\n' 1 1 2 2 3 3 >"$1.trace"
	FCPULL_ROOT=$1.store "$FCPULL" convert -q --chunk-size 64k --trace "$1.trace" "oci:$1:x"
}
# A small Debian: minbase by mmdebstrap, then a layer on it; with the machine's own mirror.
make_debian() {
	local w=$1.work mirror
	# shellcheck disable=SC2016
	mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -v security | head -n 1)
	mkdir -p "$w/app/opt/app" "$w/app/etc"
	mmdebstrap --quiet --variant=minbase --aptopt='Acquire::Languages "none"' "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$w/base.tar" \
		"deb $mirror $(. /etc/os-release && echo "$VERSION_CODENAME") main"
	echo app >"$w/app/opt/app/file"
	echo changed >"$w/app/etc/hostname"
	python3 - "$TESTS" "$1" "$w" <<-'X'
		import sys; sys.path.insert(0, sys.argv[1])
		import oci
		lay, w = oci.Layout(sys.argv[2]), sys.argv[3]
		tars = [open(w + "/base.tar", "rb").read(), oci.tar_dir(w + "/app")]
		lay.tag(lay.image([lay.blob(oci.gzip_member(t), oci.OCI_LAYER + "+gzip") for t in tars], [oci.sha(t) for t in tars],
		    {"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["/bin/sh", "-c", "cat /etc/debian_version"]}), "debian")
		lay.save()
	X
	rm -rf "$w"
}
make_debian_umoci() { umoci unpack --image "$(fixture debian):debian" "$1"; }
make_debian_fc() {
	copy_layout "$(fixture debian)" "$1"
	FCPULL_ROOT=$1.store "$FCPULL" convert "oci:$1:debian"
}

# ---- mounts ----
same_tree() {	# same_tree IMAGE REFERENCE [treecmp options]: mounts, compares, unmounts
	local image=$1 ref=$2 rc=0; shift 2
	mkdir -p "$D/mnt"
	"$FCPULL" mount "$image" "$D/mnt"
	python3 "$TESTS/treecmp.py" "$@" "$D/mnt" "$ref" || rc=$?
	"$FCPULL" umount "$D/mnt"
	return $rc
}
not_mounted() { ! awk -v d="$1" '$5 == d { found = 1 } END { exit !found }' /proc/self/mountinfo; }

# ---- registries (lib-registry.sh), on ports that are free ----
# shellcheck source=lib-registry.sh
. "$TESTS/lib-registry.sh"
# shellcheck disable=SC2153
REG_CREDS=$REGISTRY_USER:$REGISTRY_PASSWORD
free_port() {	# the first of two neighbours that nobody listens on
	local p
	for p in $(shuf -i "${FCTEST_PORTS:-15100-15198}"); do
		(exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || (exec 3<>"/dev/tcp/127.0.0.1/$((p + 1))") 2>/dev/null || { echo "$p"; return; }
	done
	return 1
}
# registry_up NAME plain|tls|token|htpasswd: sets REG_HOST (host:port); REG_CA is a bundle of the authorities of all of
# them, REG_CERTS a directory with each. They end with the case.
registry_up() {
	local port i
	REGISTRY_DIR=${REG_DIR:-$D/registries}
	REG_CERTS=$REGISTRY_DIR/certs REG_CA=$REGISTRY_DIR/certs/all
	trap registry_stop_all EXIT
	for i in 1 2 3; do
		port=$(free_port)
		registry_start "$1" "$port" "$2" && break
		[ $i -lt 3 ] || fail "registry $1 does not come up"
	done
	# shellcheck disable=SC2034
	REG_HOST=localhost:$port
	mkdir -p "$REG_CERTS"
	[ "$2" = plain ] && return 0
	cp "$(registry_file "$1" ca.pem)" "$REG_CERTS/$1.crt"
	cat "$REG_CERTS"/*.crt >"$REG_CA"
}
# fcr VERB ARG...: fcpull with what the test registries need
fcr() {
	local verb=$1; shift
	"$FCPULL" "$verb" --cacert "$REG_CA" --creds "$REG_CREDS" "$@"
}
blob_bytes() {	# blob_bytes NAME: bytes of blobs that the registry has sent so far
	registry_quiet "$1"
	awk '/"GET [^ ]*\/blobs\// { sub(/.*HTTP\/[0-9.]*" /, ""); if ($1 < 300) n += $2 } END { printf "%.0f\n", n }' "$(registry_file "$1" log)"
}
sk_inspect() { skopeo inspect --cert-dir "$REG_CERTS" --creds "$REG_CREDS" "$@"; }
sk_copy() {	# sk_copy [--all] SRC DST
	local how=(--src-cert-dir "$REG_CERTS" --dest-cert-dir "$REG_CERTS")
	[ "$1" != --all ] || { how+=(--all); shift; }
	[[ $1 != docker:* ]] || how+=(--src-creds "$REG_CREDS")
	[[ $2 != docker:* ]] || how+=(--dest-creds "$REG_CREDS")
	skopeo copy -q "${how[@]}" "$1" "$2"
}
# podman in a store of its own (its runroot may have 50 characters). The ulimits: without CAP_SYS_RESOURCE podman's defaults
# are above the hard limits.
pod() {
	local runtime=runc
	command -v runc >/dev/null || runtime=crun
	podman --root "$POD_DIR/root" --runroot "$POD_DIR/run" --storage-driver overlay --cgroup-manager cgroupfs --runtime $runtime "$@"
}
pod_run() {	# pod_run IMAGE [CMD]...: pulled from the registry by podman's own client, run, removed
	local rc=0 POD_DIR
	POD_DIR=$(mktemp -d /var/tmp/fcp.XXXXXX)
	pod pull -q --cert-dir "$REG_CERTS" --creds "$REG_CREDS" "$1" >/dev/null || rc=$?
	[ $rc != 0 ] || pod run --rm --network none --ulimit nofile=1024:1024 --ulimit nproc=4096:4096 "$@" || rc=$?
	unmount_below "$POD_DIR" >/dev/null
	rm -rf --one-file-system "$POD_DIR"
	return $rc
}

# ---- another kernel ----
# shellcheck source=lib-qemu.sh
. "$TESTS/lib-qemu.sh"
