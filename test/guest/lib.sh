# shellcheck shell=sh
# what the tests in a guest share
# SPDX-License-Identifier: Apache-2.0
sums() {	# sums DIR [PART]: of all files in it
	(cd "$1" && find "./${2-}" -type f -print0 | xargs -0 sha256sum | sort -k 2)
}
stats() {	# stats DIR: of everything in it: type, mode, owner, time, and the size of what is no directory
	(cd "$1" && find . ! -type d -print0 | xargs -0 stat -c '%F %a %u %g %s %Y %n' | sort -k 9
		find . -type d -print0 | xargs -0 stat -c '%F %a %u %g %Y %n' | sort -k 8)
}
same() {	# same WANT GOT
	cmp -s "$1" "$2" && return 0
	diff "$1" "$2" | head -n 20
	return 1
}
say() {	# say TEXT: with the seconds since the boot
	echo "$(cut -d ' ' -f 1 /proc/uptime) $*"
}
