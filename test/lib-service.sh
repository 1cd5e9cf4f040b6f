# shellcheck shell=bash
# test/lib-service.sh - a service to test against: started, asked, waited for; with a registry that tells it, or without any
# SPDX-License-Identifier: Apache-2.0

SVC_TOKEN='0123456789abcdef-token'
service_port() { FCTEST_PORTS=15200-15298 free_port; }	# never one that a registry takes meanwhile
notify_config() {	# notify_config PORT: what makes docker-registry tell the service: contrib's, with another port and token
	sed -e "s,127.0.0.1:8470,127.0.0.1:$1," -e "s/THE-TOKEN/$SVC_TOKEN/" -e 's/backoff: 1s/backoff: 200ms/' \
		"$TOP/contrib/docker-registry-notifications.yml"
}
registry_that_tells() {	# registry_that_tells KIND: sets REG_HOST, SVC_PORT
	need docker-registry skopeo curl jq
	SVC_PORT=$(service_port)
	# shellcheck disable=SC2034 # registry_start reads it
	REGISTRY_EXTRA=$(notify_config "$SVC_PORT")
	registry_up r "$1"
	unset REGISTRY_EXTRA
	trap 'service_stop KILL; registry_stop_all' EXIT
	printf '%s\n' "$SVC_TOKEN" >token
	SVC_URL=http://127.0.0.1:$SVC_PORT
	SVC_NET=(--authfile "$(registry_file r auth.json)" --cacert "$REG_CA")
}
service_start() {	# service_start [OPTION]...: waits until it answers; SVC_PID
	# sanitizers reserve more addresses than a conversion should have
	local memory=4g
	[ "$SLOW" = 1 ] || memory=0
	"$FCPULL" serve -v --registry "$REG_HOST" --listen "127.0.0.1:$SVC_PORT" --token-file token --state state --min-free 1m \
		--backoff 0 --memory $memory "${SVC_NET[@]}" "$@" >>service.out 2>>service.log &
	SVC_PID=$!
	retry 20 healthy || { cat service.log; fail "the service does not come up"; }
}
healthy() { curl -fsS "${CURL_TLS[@]}" "$SVC_URL/healthz" >/dev/null 2>&1; }
CURL_TLS=()
service_stop() {	# service_stop SIGNAL
	[ -n "${SVC_PID-}" ] || return 0
	kill "-$1" "$SVC_PID" 2>/dev/null || true
	# shellcheck disable=SC2034 # for the cases
	wait "$SVC_PID" 2>/dev/null || SVC_RC=$?
	SVC_PID=
}
ask() {	# ask PATH [CURL-OPTION]...: with the token; prints the body, then the status in a line of its own
	local path=$1; shift
	curl -sS "${CURL_TLS[@]}" -H "Authorization: Bearer $SVC_TOKEN" -w '\n%{http_code}\n' "$SVC_URL$path" "$@"
}
body() { sed '$d'; }
asked() {	# asked STATUS PATH [CURL-OPTION]...: the status is that
	local want=$1 got; shift
	got=$(ask "$@" | tee reply | tail -n 1)
	[ "$got" = "$want" ] || { cat reply; fail "status $got, expected $want: $1"; }
}
post() {	# post STATUS PATH JSON
	asked "$1" "$2" -H 'Content-Type: application/json' --data-binary "$3"
}
state_is() {	# state_is IMAGE STATE
	[ "$(ask /v1/conversions | body | jq -r --arg i "$1" '.conversions[] | select(.image == $i) | .state')" = "$2" ]
}
wait_state() { retry $((20 * SLOW)) state_is "$1" "$2" || { ask /v1/conversions | body | jq .; cat service.log; fail "$1 is not $2"; }; }
idle() { [ "$(ask /v1/conversions | body | jq '.counts.queued + .counts.running')" = 0 ]; }
push_small() {	# push_small NAME REPO:TAG
	sk_copy "oci:$(fixture small):$1" "docker://$REG_HOST/$2"
}
is_accelerated() {	# is_accelerated REPO:TAG: the index has the original first, one accelerated form
	local ix
	ix=$(sk_inspect --raw "docker://$REG_HOST/$1")
	jq -e '.manifests | length == 2 and .[1].artifactType == "application/vnd.fcpull.image.v1"' <<<"$ix" >/dev/null
}
service_alone() {	# service_alone [OPTION]...: for registries that nobody asks
	need curl jq
	SVC_PORT=$(service_port) REG_HOST=localhost:1 SVC_NET=()
	SVC_URL=http://127.0.0.1:$SVC_PORT
	printf '%s\n' "$SVC_TOKEN" >token
	trap 'service_stop KILL' EXIT
	service_start "$@"
}
