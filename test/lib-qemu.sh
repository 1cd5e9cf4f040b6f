# shellcheck shell=bash
# test/lib-qemu.sh - another kernel under qemu: Debian's 6.1 for cloud machines, with an initramfs of our own
#
# The kernel's package is downloaded and unpacked, not installed, into FCTEST_CACHE (~/.cache/fcpull/test), once. qemu
# emulates the processor, which works everywhere, unless GUEST_ACCEL says otherwise (kvm): a boot takes some seconds of one core.
#
#   qemu_need                   skips the case when there is no qemu, or no such kernel to be had
#   guest_root DIR MODULE...    makes DIR, the root of an initramfs: busybox, fcpull, guest/init, these modules and what they need
#   guest_boot DIR [ARG]...     boots it (qemu's ARGs added); the console is shown and kept in DIR.console; 0 when the guest's
#                               /test ended with 0
#
# In the guest 10.0.2.2 is the host's loopback.
# SPDX-License-Identifier: Apache-2.0

GUEST_SERIES=6.1
GUEST_MEMORY=512M

guest_package() {	# the name of the newest kernel of the series for cloud machines
	apt-cache pkgnames "linux-image-$GUEST_SERIES." 2>/dev/null | grep -E -- '^linux-image-[0-9.-]+-cloud-amd64$' | sort -V | tail -n 1
}
guest_kernel_get() {	# guest_kernel_get DIR PACKAGE
	local new
	new=$(mktemp -d "$FCTEST_CACHE/new.XXXXXX")
	(cd "$new" && apt-get -qq -o APT::Sandbox::User=root download "$2" >&2 && dpkg-deb -x "$2"_*.deb root) || { rm -rf "$new"; return 1; }
	mv -T "$new/root" "$1" 2>/dev/null || true	# or somebody else was faster
	rm -rf "$new"
	[ -d "$1" ]
}
# Sets GUEST_KERNEL, the unpacked package.
qemu_need() {
	local p
	need_root; need qemu-system-x86_64 apt-get dpkg-deb
	[ "$(uname -m)" = x86_64 ] || skip "only for x86-64"
	[ "$SLOW" = 1 ] || skip "not with sanitizers: the program goes to a machine without libraries"
	p=$(guest_package)
	# one that was unpacked before will do, too: without the network, for instance
	GUEST_KERNEL=$FCTEST_CACHE/$p
	if [ -z "$p" ]; then GUEST_KERNEL=$(find "$FCTEST_CACHE" -maxdepth 1 -name "linux-image-$GUEST_SERIES.*" 2>/dev/null | sort -V | tail -n 1); fi
	[ -n "$GUEST_KERNEL" ] || skip "no Linux $GUEST_SERIES for cloud machines among the packages"
	mkdir -p "$FCTEST_CACHE"
	[ -d "$GUEST_KERNEL" ] || guest_kernel_get "$GUEST_KERNEL" "$p" || skip "the package $p cannot be downloaded"
}

guest_modules() {	# guest_modules DIR MODULE...: copies them and what they need
	local dir=$1 from file name; shift
	from=$(echo "$GUEST_KERNEL"/lib/modules/*)
	[ -e "$from/modules.dep" ] || { depmod -b "$GUEST_KERNEL" "${from##*/}" || busybox depmod -b "$GUEST_KERNEL" "${from##*/}"; } 2>/dev/null
	for name; do
		file=$(grep -E "(^|/)$name\.ko:" "$from/modules.dep") || fail "no module $name in $GUEST_KERNEL"
		for file in ${file//:/}; do
			file=${file#"$from"/}
			install -D -m 644 "$from/$file" "$dir/lib/modules/${from##*/}/$file"
		done
	done
	busybox depmod -b "$dir" "${from##*/}"
}
guest_root() {
	local dir=$1 a; shift
	mkdir -p "$dir"/{bin,sbin,proc,sys,dev,run,tmp,etc,mnt,var/lib}
	cp "$(command -v busybox)" "$dir/bin/busybox"
	for a in $(busybox --list); do [ "$a" = busybox ] || ln -s busybox "$dir/bin/$a"; done
	ln -s ../bin/busybox "$dir/sbin/modprobe"	# where the kernel looks for it
	cp "$FCPULL" "$dir/bin/fcpull"
	install -m 755 "$TESTS/guest/init" "$dir/init"
	cp "$TESTS/guest/lib.sh" "$dir/lib.sh"
	guest_modules "$dir" virtio_pci virtio_net "$@"
}
guest_boot() {
	local dir=$1; shift
	(cd "$dir" && find . | busybox cpio -o -H newc) >"$dir.cpio" 2>/dev/null
	qemu-system-x86_64 -accel "${GUEST_ACCEL:-tcg}" -cpu max -smp 2 -m "$GUEST_MEMORY" -nodefaults -no-user-config -no-reboot -display none \
		-serial stdio -netdev user,id=n -device virtio-net-pci,netdev=n,romfile= \
		-kernel "$GUEST_KERNEL"/boot/vmlinuz-* -initrd "$dir.cpio" \
		-append "console=ttyS0 quiet loglevel=3 panic=-1 random.trust_cpu=on mitigations=off ${GUEST_APPEND-}" "$@" \
		</dev/null 2>&1 | tr -d '\r' | tee "$dir.console"
	[ "$(grep -c '^guest: ended with 0$' "$dir.console")" = 1 ]
}
