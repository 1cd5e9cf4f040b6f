# shellcheck shell=bash
# test/lib-registry.sh - starts and stops registries to test against: Debian's docker-registry, on 127.0.0.1
#
#   registry_start NAME PORT plain|tls|token|htpasswd
#       All but plain speak TLS. token: a token server (tokenserver.py) at PORT+1, TLS too; anonymous may pull. The user of
#       token and htpasswd is alice, her password "open sesame". Ports: 15000 to 15099. Files in $REGISTRY_DIR/NAME:
#         ca.pem      the authority that signed the certificate (names: localhost, 127.0.0.1; 10.0.2.2 and registry.test for guests of qemu)
#         auth.json   credentials for --authfile
#         log, token.log
#       REGISTRY_EXTRA, if set, is more of its configuration.
#   registry_stop NAME        by the recorded process ids
#   registry_stop_all
#   registry_quiet NAME       until each request of a client that has ended stands in its log, which is written after the answer
#   registry_file NAME FILE   prints the path of one of these files
#   make_ca DIR [NAMES]       ca.pem ca.key cert.pem cert.key in DIR; NAMES as in subjectAltName
#
# REGISTRY_DIR is ${SCRATCH:-${TMPDIR:-/tmp}}/registries unless set before.
# SPDX-License-Identifier: Apache-2.0

: "${REGISTRY_DIR:=${SCRATCH:-${TMPDIR:-/tmp}}/registries}"
REGISTRY_TESTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REGISTRY_USER=alice
REGISTRY_PASSWORD='open sesame'

registry_file() { echo "$REGISTRY_DIR/$1/$2"; }

make_ca() {
	local d=$1 names=${2:-DNS:localhost,DNS:registry.test,DNS:registry.example,IP:127.0.0.1,IP:::1,IP:10.0.2.2}
	mkdir -p "$d"
	openssl ecparam -name prime256v1 -genkey -noout -out "$d/ca.key" 2>/dev/null
	openssl ecparam -name prime256v1 -genkey -noout -out "$d/cert.key" 2>/dev/null
	openssl req -x509 -new -key "$d/ca.key" -sha256 -days 30 -subj '/CN=fcpull test authority' -out "$d/ca.pem" 2>/dev/null
	printf '%s\n' "subjectAltName=$names" 'basicConstraints=CA:FALSE' >"$d/ext"
	openssl req -new -key "$d/cert.key" -subj '/CN=localhost' 2>/dev/null |
		openssl x509 -req -CA "$d/ca.pem" -CAkey "$d/ca.key" -CAcreateserial -sha256 -days 30 -extfile "$d/ext" -out "$d/cert.pem" 2>/dev/null
}

# shellcheck disable=SC2013
registry_listens() {	# registry_listens PORT PID: it does, not another one that was faster
	local inode
	for inode in $(awk -v p=":$(printf %04X "$1")\$" '$4 == "0A" && $2 ~ p { print $10 }' /proc/net/tcp /proc/net/tcp6 2>/dev/null); do
		[ -z "$(find "/proc/$2/fd" -lname "socket:\[$inode\]" -print -quit 2>/dev/null)" ] || return 0
	done
	return 1
}
registry_wait() {	# registry_wait PORT PID: until it listens
	for _ in $(seq 400); do
		registry_listens "$1" "$2" && return 0
		kill -0 "$2" 2>/dev/null || return 1
		sleep 0.05
	done
	return 1
}

# No connection is open at its end: it closes one when the last request's line is written. (01 established, 06 time-wait, 0A listening)
registry_idle() {
	! awk -v p=":$(printf %04X "$(cat "$REGISTRY_DIR/$1/port")")\$" '$2 ~ p && $4 != "06" && $4 != "0A" { found = 1 } END { exit !found }' \
		/proc/net/tcp /proc/net/tcp6 2>/dev/null
}
registry_quiet() {
	for _ in $(seq 40); do
		registry_idle "$1" && return 0
		sleep 0.05
	done
	return 0	# whoever holds a connection open is waited for no longer
}

registry_config() {	# registry_config DIR PORT KIND
	local d=$1 port=$2 kind=$3
	printf '%s\n' 'version: 0.1' 'log:' '  level: warn' 'storage:' '  filesystem:' "    rootdirectory: $d/data" \
		'  delete:' '    enabled: true' 'http:' "  addr: 127.0.0.1:$port" '  secret: test'
	[ "$kind" = plain ] || printf '%s\n' '  tls:' "    certificate: $d/cert.pem" "    key: $d/cert.key"
	case $kind in
	htpasswd) printf '%s\n' 'auth:' '  htpasswd:' '    realm: test' "    path: $d/htpasswd" ;;
	token) printf '%s\n' 'auth:' '  token:' "    realm: https://127.0.0.1:$((port + 1))/token" '    service: test-registry' \
		'    issuer: test-issuer' "    rootcertbundle: $d/sign.pem" ;;
	esac
}

registry_token_server() {	# registry_token_server DIR PORT
	local d=$1 port=$2
	openssl req -x509 -newkey rsa:2048 -nodes -keyout "$d/sign.key" -out "$d/sign.pem" -days 30 -subj '/CN=token signer' 2>/dev/null
	python3 "$REGISTRY_TESTS/tokenserver.py" --port "$port" --tls "$d/cert.pem" "$d/cert.key" --sign "$d/sign.pem" "$d/sign.key" \
		--service test-registry --issuer test-issuer --user "$REGISTRY_USER:$REGISTRY_PASSWORD" --log "$d/token.log" \
		>"$d/token.out" 2>&1 </dev/null &
	echo $! >>"$d/pids"
	registry_wait "$port" $!
}

registry_start() {
	local d=$REGISTRY_DIR/$1 port=$2 kind=$3
	rm -rf "$d"
	mkdir -p "$d/data"
	echo "$port" >"$d/port"
	[ "$kind" = plain ] || make_ca "$d"
	[ "$kind" != htpasswd ] || htpasswd -Bbn "$REGISTRY_USER" "$REGISTRY_PASSWORD" >"$d/htpasswd"
	[ "$kind" != token ] || registry_token_server "$d" $((port + 1)) || { echo "token server: $(cat "$d/token.out")" >&2; return 1; }
	printf '{"auths":{"127.0.0.1:%s":{"auth":"%s"},"localhost:%s":{"auth":"%s"}}}\n' "$port" \
		"$(printf %s "$REGISTRY_USER:$REGISTRY_PASSWORD" | base64)" "$port" "$(printf %s "$REGISTRY_USER:$REGISTRY_PASSWORD" | base64)" >"$d/auth.json"
	registry_config "$d" "$port" "$kind" >"$d/config.yml"
	[ -z "${REGISTRY_EXTRA-}" ] || printf '%s\n' "$REGISTRY_EXTRA" >>"$d/config.yml"
	docker-registry serve "$d/config.yml" >"$d/log" 2>&1 </dev/null &
	echo $! >>"$d/pids"
	registry_wait "$port" $! || { echo "docker-registry: $(tail -n 3 "$d/log")" >&2; return 1; }
}

registry_stop() {
	local d=$REGISTRY_DIR/$1 pid
	[ -e "$d/pids" ] || return 0
	while read -r pid; do
		kill "$pid" 2>/dev/null && { wait "$pid" 2>/dev/null || true; }
	done <"$d/pids"
	rm -f "$d/pids"
}

registry_stop_all() {
	local d
	for d in "$REGISTRY_DIR"/*/; do
		[ -d "$d" ] && registry_stop "$(basename "$d")"
	done
	return 0
}
