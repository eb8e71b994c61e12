#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Larder speaks TLS itself: versions, client certificates, and a certificate that is renewed while connections go on.
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
need openssl curl skopeo

# certificate NAME DAYS: NAME.pem and NAME.key, for 127.0.0.1, signed by itself.
certificate() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$T/$1.key" -out "$T/$1.pem" -days 30 \
    -subj "/CN=$1" -addext "subjectAltName=IP:127.0.0.1" 2>/dev/null
}

# client_certificate NAME CA USAGE
client_certificate() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$T/$1.key" -out "$T/$1.csr" -subj "/CN=$1" 2>/dev/null
  openssl x509 -req -in "$T/$1.csr" -CA "$T/$2.pem" -CAkey "$T/$2.key" -CAcreateserial -out "$T/$1.pem" -days 30 \
    -extfile <(echo "extendedKeyUsage=$3") 2>/dev/null
}

serve_with() {
  cp "$T/$1.pem" "$T/live.pem"
  cp "$T/$1.key" "$T/live.key"
}

configure() {
  cat >"$T/larder.yaml" <<END
store: { path: $T/store }
admin: { listen: "off" }
tls: { cert: $T/live.pem, key: $T/live.key$1 }
upstreams:
  docker.io: { url: "http://$REGISTRY" }
END
}

# reload WHAT-IT-SAYS
reload() {
  local before
  before=$(grep -c -- "$1" "$T/larder.log" || true)
  kill -HUP "${pids[larder]}"
  wait_for 10 "'$1'" said_again "$before" "$1"
}

said_again() {
  [ "$(grep -c -- "$2" "$T/larder.log")" -gt "$1" ]
}

ping_with() {
  local trusted=$1
  shift
  curl -fsS -o /dev/null --cacert "$T/$trusted.pem" "$@" "https://$LARDER_AT/v2/" 2>"$T/curl.err"
}

start_registry
push multi
learn_truth multi
certificate one
certificate two
certificate ca
certificate other
client_certificate client ca clientAuth
client_certificate server ca serverAuth
client_certificate stranger other clientAuth
serve_with one
configure ""
start_larder larder -c "$T/larder.yaml"

say "TLS 1.2 and 1.3, and nothing older"
ping_with one --tlsv1.3
ping_with one --tlsv1.2 --tls-max 1.2
! ping_with one --tls-max 1.1 || fail "TLS 1.1 is spoken"
! ping_with two || fail "curl takes any certificate: the test is none"

say "who asks to renegotiate is told no, and let go"
mkfifo "$T/typed"
openssl s_client -connect "$LARDER_AT" -CAfile "$T/one.pem" -tls1_2 -msg <"$T/typed" >"$T/renegotiation" 2>&1 &
pids[renegotiation]=$!
started+=(renegotiation)
exec {typed}>"$T/typed"
wait_for 20 "a session" grep -q "Verify return code" "$T/renegotiation"
echo R >&"$typed"
wait_for 20 "a no" grep -q "no renegotiation" "$T/renegotiation"
exec {typed}>&-
[ "$(grep -c '<<< .*ServerHello$' "$T/renegotiation")" = 1 ] || fail "a client could renegotiate"

say "a real client pulls"
mkdir "$T/certs"
cp "$T/one.pem" "$T/certs/ca.crt"
skopeo --insecure-policy copy -q --src-cert-dir "$T/certs" "docker://$LARDER_AT/$REPOSITORY:multi" "dir:$T/pulled"

say "a renewed certificate, while an old connection goes on"
mkfifo "$T/questions"
openssl s_client -quiet -connect "$LARDER_AT" -CAfile "$T/one.pem" <"$T/questions" >"$T/answers" 2>/dev/null &
pids[client]=$!
started+=(client)
exec 7>"$T/questions"
printf 'GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n' >&7
answers() {
  [ "$(grep -o 'HTTP/1.1 200' "$T/answers" | wc -l)" = "$1" ]
}
wait_for 10 "the first answer" answers 1
serve_with two
reload "the configuration was read again"
ping_with two
! ping_with one || fail "a new connection still has the old certificate"
printf 'GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n' >&7
wait_for 10 "an answer on the old connection" answers 2
exec 7>&-

say "a certificate that is none changes nothing"
echo nonsense >"$T/live.pem"
reload "all stays as it was"
ping_with two

say "client certificates"
serve_with two
configure ", client_ca: $T/ca.pem"
reload "the configuration was read again"
! ping_with two || fail "a client without a certificate came in"
! ping_with two --cert "$T/stranger.pem" --key "$T/stranger.key" || fail "a stranger's client came in"
! ping_with two --cert "$T/server.pem" --key "$T/server.key" || fail "a server's certificate passed for a client's"
ping_with two --cert "$T/client.pem" --key "$T/client.key"
ping_with two --tls-max 1.2 --cert "$T/client.pem" --key "$T/client.key"
