# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The real registry behind larder, TLS with HTTP/2 in front of it, and what it holds as the truth to compare with.
# Sourced by lib.sh.

# start_registry: Debian's docker-registry with an empty storage, on REGISTRY (127.0.0.1:PORT).
start_registry() {
  need docker-registry
  cat >"$T/registry.yml" <<END
version: 0.1
storage: { filesystem: { rootdirectory: $T/registry } }
http: { addr: "127.0.0.1:0" }
log: { accesslog: { disabled: true } }
END
  start registry docker-registry serve "$T/registry.yml"
  wait_log registry 'listening on '
  REGISTRY=127.0.0.1:$(port_of registry)
}

# push TAG [SKOPEO-OPTION…]: puts the test image's TAG into the registry, all of its platforms.
push() {
  local layout tag=$1
  shift
  need skopeo
  layout=$(image_layout)
  skopeo --insecure-policy copy -q --all --dest-tls-verify=false "$@" \
    "oci:$layout:$tag" "docker://$REGISTRY/$REPOSITORY:$tag"
}

ACCEPT_ALL="application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"

# fetch_manifest BASE REFERENCE FILE: BASE is a repository's address, http://HOST/v2/NAME.
fetch_manifest() {
  curl -fsS -H "Accept: $ACCEPT_ALL" -D "$3.head" -o "$3" "$1/manifests/$2"
}

# learn_truth TAG: fetches everything that the registry holds of an image, once, into truth/HEX, and sets
#   MANIFEST the tag's digest; MANIFESTS all manifest digests.
learn_truth() {
  local base=http://$REGISTRY/v2/$REPOSITORY digest blob queue
  fetch_manifest "$base" "$1" "$T/truth/tag"
  MANIFEST=sha256:$(sha256sum "$T/truth/tag" | cut -d' ' -f1)
  MANIFESTS=()
  queue=("$MANIFEST")
  while [ ${#queue[@]} -gt 0 ]; do
    digest=${queue[0]}
    queue=("${queue[@]:1}")
    MANIFESTS+=("$digest")
    fetch_manifest "$base" "$digest" "$(truth "$digest")"
    mapfile -t -O ${#queue[@]} queue < <(jq -r '.manifests[]?.digest' "$(truth "$digest")")
    for blob in $(blobs_of "$digest"); do
      curl -fsS -L -o "$(truth "$blob")" "$base/blobs/$blob"
      echo "${blob#*:}  $(truth "$blob")" | sha256sum --quiet -c -
    done
  done
}

# truth DIGEST: the path of the registry's own bytes.
truth() {
  echo "$T/truth/${1#*:}"
}

# blobs_of MANIFEST-DIGEST: the configuration's and the layers' digests; none for an index.
blobs_of() {
  jq -r '.config.digest?, .layers[]?.digest | values' "$(truth "$1")"
}

# platform_manifest: the manifest that a client on this machine picks below MANIFEST.
platform_manifest() {
  local digest
  digest=$(jq -r --arg arch "$(dpkg --print-architecture)" \
    '.manifests[]? | select(.platform.architecture == $arch) | .digest' "$(truth "$MANIFEST")")
  echo "${digest:-$MANIFEST}"
}

# make_certificates: a CA of our own (ca.pem), and a certificate by it for loopback (server.pem, server.key).
make_certificates() {
  need openssl
  cat >"$T/openssl.cnf" <<'END'
[req]
distinguished_name = name
prompt = no
[name]
CN = larder e2e
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[server]
subjectAltName = DNS:localhost, IP:127.0.0.1
END
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -config "$T/openssl.cnf" -extensions ca \
    -keyout "$T/ca.key" -out "$T/ca.pem" 2>"$T/openssl.out"
  openssl req -newkey rsa:2048 -nodes -config "$T/openssl.cnf" -subj /CN=localhost \
    -keyout "$T/server.key" -out "$T/server.csr" 2>>"$T/openssl.out"
  openssl x509 -req -days 2 -in "$T/server.csr" -CA "$T/ca.pem" -CAkey "$T/ca.key" -set_serial 2 \
    -extfile "$T/openssl.cnf" -extensions server -out "$T/server.pem" 2>>"$T/openssl.out"
}

nginx_config() {
  cat <<END
daemon off; master_process off; pid $T/nginx.pid; error_log stderr;
events {}
http {
  log_format protocol '\$server_protocol \$request_method \$uri \$status';
  access_log $T/front.access protocol;
  proxy_max_temp_file_size 0;
  client_body_temp_path $T/nginx-tmp; proxy_temp_path $T/nginx-tmp; fastcgi_temp_path $T/nginx-tmp;
  uwsgi_temp_path $T/nginx-tmp; scgi_temp_path $T/nginx-tmp;
  server {
    $1
    location / { proxy_pass http://$REGISTRY; proxy_set_header Host \$http_host; }
  }
}
END
}

start_nginx() {
  nginx_config "$1" >"$T/nginx.conf"
  start front nginx -e stderr -p "$T" -c "$T/nginx.conf"
}

# launch_front KIND PORT
launch_front() {
  case $1 in
    nginx)
      start_nginx "listen 127.0.0.1:$2 ssl http2;
        ssl_certificate $T/server.pem; ssl_certificate_key $T/server.key;"
      ;;
    slow) start_nginx "listen 127.0.0.1:$2; limit_rate 2m;" ;;
    nghttpx)
      start front nghttpx --conf=/dev/null --workers=1 --frontend="127.0.0.1,$2" --backend="127.0.0.1,${REGISTRY#*:}" \
        --accesslog-file="$T/front.access" --accesslog-format="\$alpn \$request \$status" \
        "$T/server.key" "$T/server.pem"
      ;;
  esac
}

front_answers() {
  curl -fsS -o "$T/ping" --cacert "$T/ca.pem" "$FRONT/v2/" 2>>"$T/ping.log" || service_ended front
}

# start_front nginx|nghttpx|slow: TLS with HTTP/2 in front of the registry, or plain HTTP with 2 MiB/s; its address is
# FRONT.
start_front() {
  local port
  need nginx nghttpx curl
  make_certificates
  for _ in 1 2 3 4 5; do
    port=$(free_port)
    FRONT=https://localhost:$port
    [ "$1" != slow ] || FRONT=http://localhost:$port
    launch_front "$1" "$port"
    wait_for 30 "an answer of $1" front_answers
    # Someone else may have taken the port in between.
    service_ended front || break
  done
  ! service_ended front || fail "$1 does not start"
}

# expect_http2: the front was spoken to in HTTP/2 and got nothing else from larder.
expect_http2() {
  grep -q "blobs/sha256" "$T/front.access" || fail "no blob came through the TLS front"
  if grep "blobs/sha256" "$T/front.access" | grep -qv -e '^h2 ' -e '^HTTP/2.0 '; then
    grep "blobs/sha256" "$T/front.access" >&2
    fail "blobs were fetched with something else than HTTP/2"
  fi
}
