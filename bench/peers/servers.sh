# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The servers that are compared. Each takes the same paths, and is started with nothing stored. Sourced by bench/peers/run.

PEERS=$BENCH_SOURCE/bench/peers

declare -A port=([larder]=$LARDER_PORT [registry]=5200 [nginx-cache]=5300 [nginx-file]=5400 [nginx-tls]=5600 [varnish]=5500
  [direct]=$UPSTREAM_PORT)

# command_of SERVER: sets COMMAND to what starts it, with folders of its own below W.
command_of() {
  local folder=$W/$1
  mkdir -p "$folder"
  # nginx's workers drop to another user, who has to get here.
  chmod 755 "$W" "$folder"
  case $1 in
    larder)
      larder_config "$folder/store" >"$folder/larder.yaml"
      COMMAND=("$LARDER" serve -c "$folder/larder.yaml")
      ;;
    registry)
      COMMAND=(env REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY="$folder/store" docker-registry serve "$PEERS/registry.yml")
      ;;
    nginx-*)
      mkdir -p "$folder/root"
      # Certificates are looked for beside the configuration.
      cp "$PEERS/$1.conf" "$folder"
      [ "$1" != nginx-tls ] || cp "$W/cert.pem" "$W/key.pem" "$folder"
      COMMAND=(nginx -p "$folder" -e error.log -c "$folder/$1.conf")
      ;;
    varnish)
      COMMAND=(varnishd -F -n "$folder/run" -a 127.0.0.1:5500 -f "$PEERS/varnish.vcl" -s "malloc,4G" -T none)
      ;;
  esac
}

# start_server SERVER: anew, and empty. False when it does not start.
start_server() {
  stop "$1"
  rm -rf "${W:?}/$1"
  command_of "$1"
  start "$1" "${COMMAND[@]}"
  if [ "$1" = nginx-file ] || [ "$1" = nginx-tls ]; then
    mkdir -p "$W/$1/root/v2"
    echo '{}' >"$W/$1/root/v2/index.html"
  fi
  await "$1" "${port[$1]}" /v2/
}

# give_file PATH: the file server that runs gets what the upstream serves there.
give_file() {
  local server file
  for server in nginx-file nginx-tls; do
    [ -n "${pids[$server]:-}" ] || continue
    file=$W/$server/root$1
    mkdir -p "${file%/*}"
    curl -fs -o "$file" -H "$ACCEPT" "http://127.0.0.1:$UPSTREAM_PORT$1"
  done
}
