#!/bin/bash
# images.sh - builds the cold-start workload images from Debian packages and pushes them to a local docker-registry
#
#   images.sh build [NAME...]   build (default: all) into buildah's own store; 5 min, 8 GB for all
#   images.sh push  [NAME...]   push to $REG as NAME:latest (gzip layers)
#   images.sh list              names of the workloads
#   WORK=DIR (default /var/tmp/fcpull-bench) holds everything that is built; REG=HOST:PORT (default 127.0.0.1:5000)
#
# Every image is a chain of layers, one `buildah commit` each:
#   base (mmdebstrap minbase, shared by all) -> runtime -> libraries -> [model] -> app
# The entrypoint does the cold-start job, prints "READY <name>" and exits 0. Root, Debian with buildah and mmdebstrap.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
WORK=${WORK:-/var/tmp/fcpull-bench}
REG=${REG:-127.0.0.1:5000}
# the Debian mirror that this machine itself is set up with
# shellcheck disable=SC2016
MIRROR=${MIRROR:-$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -v security | head -n1)}
SUITE=${SUITE:-bookworm}
B="buildah --root $WORK/buildah --runroot $WORK/buildah-run --storage-driver overlay"
export DEBIAN_FRONTEND=noninteractive

ALL="ml-small-import ml-large-import ai-cat-or-dog python-flask node-web frontend-chromium av-ffmpeg jvm-web"

have() { $B inspect --type image "localhost/$1" >/dev/null 2>&1; }

# base: one minbase layer, with the security suite enabled for what follows
base() {
	have base && return 0
	# shellcheck disable=SC2016
	[ -s "$WORK/base.tar" ] || mmdebstrap --variant=minbase \
		--aptopt='Acquire::Languages "none"' --include=ca-certificates \
		--customize-hook='rm -f "$1"/var/cache/apt/*.bin' "$SUITE" "$WORK/base.tar" \
		"deb $MIRROR $SUITE main" \
		"deb $MIRROR-security $SUITE-security main"
	local c; c=$($B from scratch)
	$B add "$c" "$WORK/base.tar" / >/dev/null
	$B config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$c"
	$B commit --quiet "$c" localhost/base >/dev/null
	$B rm "$c" >/dev/null
}

# pkgs PARENT NAME PKG... : one layer holding the packages, as a Dockerfile's
#   RUN apt-get update && apt-get install -y --no-install-recommends ... && rm -rf /var/lib/apt/lists/*
pkgs() {
	local parent=$1 name=$2; shift 2
	have "$name" && return 0
	local c; c=$($B from --pull-never "localhost/$parent")
	# the .debs are kept on the host (bind mount), so that they never enter a layer
	$B run --isolation chroot -v "$WORK/apt-cache:/var/cache/apt/archives" "$c" -- sh -ec '
		export DEBIAN_FRONTEND=noninteractive
		mkdir -p /usr/share/man/man1
		apt-get -qq update
		apt-get -qq -y -o APT::Keep-Downloaded-Packages=true --no-install-recommends install "$@" >/dev/null
		rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log /var/cache/debconf/*-old
	' sh "$@" 2>&1 | { grep -v -e '^debconf' -e 'update-alternatives' -e 'invoke-rc.d' || true; } | tail -5
	$B commit --quiet "$c" "localhost/$name" >/dev/null
	$B rm "$c" >/dev/null
}

# app PARENT NAME [ENTRYPOINT...] : the app layer, apps/NAME copied to /app; apps/NAME/links has "TARGET LINK" lines, for not
# every way of a checkout keeps links
app() {
	local parent=$1 name=$2; shift 2
	local ep="" a target link
	for a in "$@"; do ep="$ep,\"$a\""; done
	local c; c=$($B from --pull-never "localhost/$parent")
	rm -rf "$WORK/app"; cp -a "$HERE/apps/$name" "$WORK/app"
	if [ -e "$WORK/app/links" ]; then
		while read -r target link; do ln -sfn "$target" "$WORK/app/$link"; done <"$WORK/app/links"
		rm "$WORK/app/links"
	fi
	$B copy "$c" "$WORK/app" /app >/dev/null
	$B config --workingdir /app --entrypoint "[${ep#,}]" --cmd "" "$c"
	$B commit --quiet "$c" "localhost/$name" >/dev/null
	$B rm "$c" >/dev/null
}

# runin PARENT NAME CMD : one layer made by a command (as Dockerfile RUN)
runin() {
	local parent=$1 name=$2 dir=$3; shift 3
	have "$name" && return 0
	local c; c=$($B from --pull-never "localhost/$parent")
	$B run --isolation chroot -v "$dir:/build:ro" "$c" -- sh -ec "$*"
	$B commit --quiet "$c" "localhost/$name" >/dev/null
	$B rm "$c" >/dev/null
}

SCI=(python3-numpy python3-scipy python3-pandas python3-sklearn python3-matplotlib python3-pil)
build() {
	{ command -v buildah && command -v mmdebstrap; } >/dev/null || apt-get -qq -y --no-install-recommends install buildah mmdebstrap >/dev/null
	mkdir -p "$WORK/apt-cache/partial"
	base
	case $1 in
	ml-small-import)	# numpy/scipy/pandas/sklearn stack, only sklearn's linear part is used
		pkgs base l-py python3 python3-pip
		pkgs l-py l-sci "${SCI[@]}"
		app l-sci "$1" python3 /app/main.py ;;
	ml-large-import)	# the same stack + torch + opencv + image libraries, most of them imported
		pkgs base l-py python3 python3-pip
		pkgs l-py l-sci "${SCI[@]}"
		pkgs l-sci l-deep python3-torch python3-torchvision python3-opencv python3-skimage python3-h5py
		app l-deep "$1" python3 /app/main.py ;;
	ai-cat-or-dog)		# torch + torchvision, a ResNet-50 weight file (~98 MB), classify one picture
		pkgs base l-py python3 python3-pip
		pkgs l-py l-torch python3-torch python3-torchvision python3-pil python3-numpy
		runin l-torch l-model "$HERE/apps/ai-cat-or-dog" python3 /build/makemodel.py /model
		app l-model "$1" python3 /app/main.py ;;
	python-flask)
		pkgs base l-py python3 python3-pip
		pkgs l-py l-flask python3-flask python3-requests python3-sqlalchemy python3-redis gunicorn
		app l-flask "$1" python3 /app/main.py ;;
	node-web)
		pkgs base l-node nodejs npm
		pkgs l-node l-express node-express node-ws node-lodash node-axios
		app l-express "$1" node /app/main.js ;;
	frontend-chromium)	# fonts as in puppeteer's Dockerfile
		pkgs base l-nodeonly nodejs
		pkgs l-nodeonly l-chromium chromium fonts-wqy-zenhei fonts-ipafont-gothic fonts-liberation fonts-freefont-ttf
		app l-chromium "$1" sh /app/main.sh ;;
	av-ffmpeg)
		pkgs base l-py python3 python3-pip
		pkgs l-py l-ffmpeg ffmpeg
		runin l-ffmpeg l-clip "$HERE/apps/av-ffmpeg" sh /build/makeclip.sh /media
		app l-clip "$1" sh /app/main.sh ;;
	jvm-web)
		pkgs base l-java openjdk-17-jre-headless
		pkgs l-java l-tomcat tomcat10 curl
		app l-tomcat "$1" sh /app/main.sh ;;
	*) echo "unknown workload $1" >&2; exit 2 ;;
	esac
	echo "built $1"
}

push() {
	# buildah push compresses with gzip (Go pgzip, default level); the blob is what docker would push
	$B push --quiet --tls-verify=false --format "${FORMAT:-oci}" "localhost/$1" "docker://$REG/$1:latest"
	echo "pushed $1"
}

cmd=${1:-}; shift || true
names=${*:-$ALL}
case $cmd in
build) for n in $names; do build "$n"; done ;;
push)  for n in $names; do push "$n"; done ;;
list)  echo "$ALL" ;;
*) sed -n '2,12p' "$0"; exit 2 ;;
esac
