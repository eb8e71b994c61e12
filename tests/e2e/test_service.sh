#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The Debian package in a fresh Debian 12 that systemd runs: installed, serving docker, upgraded, started by its socket,
# removed, purged. The system is debootstrapped once into E2E_CACHE, which outlives the test, and takes minutes.
E2E_SECONDS=540
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
need debootstrap systemd-nspawn nsenter dpkg-deb skopeo curl jq dockerd docker
need_daemons
need_unpacking

BASE=$E2E_CACHE/service-root
ROOT=$T/root

make_base() {
  local packages
  packages=$(dpkg-deb -f "$DEB" Depends | sed 's/([^)]*)//g; s/ //g')
  [ "$(cat "$BASE/.made" 2>/dev/null)" != "$packages" ] || return 0
  rm -rf "$BASE"
  debootstrap --variant=minbase --include="systemd,systemd-sysv,dbus,init-system-helpers,ca-certificates,$packages" \
    bookworm "$BASE" >"$T/debootstrap.log" 2>&1 || {
    tail -n 3 "$T/debootstrap.log"
    rm -rf "$BASE"
    skip "a Debian cannot be debootstrapped here"
  }
  echo "$packages" >"$BASE/.made"
}

# in_net COMMAND…: one of this machine's programs, in the network of the booted system.
in_net() {
  nsenter -t "$LEADER" -n -- "$@"
}

# inside COMMAND…: in the booted system.
inside() {
  nsenter -t "$LEADER" -a --root --wd -- "$@"
}

leader_is_there() {
  LEADER=$(ps -o pid= --ppid "${pids[system]}" 2>/dev/null | tr -d ' ')
  [ -n "$LEADER" ] || service_ended system
}

is_up() {
  inside systemctl is-system-running 2>/dev/null | grep -Eq 'running|degraded' || service_ended system
}

boot() {
  start system systemd-nspawn -q -D "$ROOT" --boot --register=no --keep-unit --private-network --console=pipe \
    --kill-signal=SIGRTMIN+3
  wait_for 30 "the start of a system" leader_is_there
  [ -n "$LEADER" ] || skip "systemd-nspawn cannot run here"
  wait_for 60 "the system being up" is_up
  ! service_ended system || skip "systemd cannot run in a container here"
}

is_active() {
  [ "$(inside systemctl is-active larder)" = active ]
}

larder_pid() {
  inside systemctl show -P MainPID larder
}

# pull_by_docker: with the client configuration that the package brings.
pull_by_docker() {
  docker -H "unix://$T/docker.sock" pull -q "${REPOSITORY#library/}:multi" >/dev/null
  docker -H "unix://$T/docker.sock" rmi -f "${REPOSITORY#library/}:multi" >/dev/null
}

docker_answers() {
  docker -H "unix://$T/docker.sock" version >"$T/version" 2>&1 || service_ended dockerd
}

# journal_tells TEXT [OPTION…]: journald writes when it comes to it. By the identifier and not by the unit, which journald learns from
# the cgroup of a process: that may be another machine's view in a container.
journal_tells() {
  inside journalctl -q -t larder -o cat "${@:2}" >"$T/journal.log" 2>&1 || true
  grep -q "$1" "$T/journal.log"
}

say "the package"
"$E2E_SOURCE/deploy/make-deb" "$T" >"$T/make-deb.log" 2>&1 || {
  tail -n 5 "$T/make-deb.log"
  fail "the package is not built"
}
DEB=$(echo "$T"/larder_*.deb)
if command -v lintian >/dev/null; then
  # There is no address to write to yet.
  lintian --allow-root --suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog --fail-on error,warning "$DEB" ||
    fail "lintian finds fault with the package"
else
  echo "skipped: lintian's opinion, as it is not installed"
fi
make_base
cp -a "$BASE" "$ROOT"
start_registry
push multi
learn_truth multi
stop registry
boot

say "installed"
cp "$DEB" "$ROOT/root/larder.deb"
inside dpkg -i /root/larder.deb >"$T/dpkg.log" 2>&1 || fail "the package is not installed: $(tail -n 3 "$T/dpkg.log")"
wait_for 30 "the service being active" is_active
[ "$(inside stat -c %U "/proc/$(larder_pid)")" = larder ] || fail "larder does not run as its own user"
[ "$(inside stat -c '%U %a' /var/lib/larder)" = "larder 750" ] || fail "the store is not larder's own"
[ "$(inside systemctl show -P NRestarts larder)" = 0 ] || fail "larder was restarted"
in_net curl -fsS http://127.0.0.1:5001/readyz >/dev/null

say "configured, reloaded by a restart, and pulled through by docker"
cat >>"$ROOT/etc/larder/larder.yaml" <<END
upstreams:
  docker.io: { url: "http://127.0.0.1:5100" }
END
sed -i 's/addr: ".*"/addr: "127.0.0.1:5100"/' "$T/registry.yml"
start registry nsenter -t "$LEADER" -n -- docker-registry serve "$T/registry.yml"
wait_log registry 'listening on '
inside systemctl restart larder
start dockerd nsenter -t "$LEADER" -n -- dockerd --config-file "$ROOT/usr/share/doc/larder/clients/daemon.json" \
  --iptables=false --bridge=none --data-root "$T/docker" --exec-root "$T/docker-exec" -H "unix://$T/docker.sock" \
  -p "$T/docker.pid"
wait_for 60 "an answer of dockerd" docker_answers
pull_by_docker
stop registry
pull_by_docker
wait_for 10 "a hit in the journal" journal_tells outcome=hit

say "the journal tells what is urgent from what is not"
! journal_tells '^<[0-7]>' || fail "priorities are taken for text"
journal_tells outcome=hit -p info..info || fail "an access line is not of priority info"
! journal_tells . -p err || fail "something went wrong: $(head -n 3 "$T/journal.log")"
cp "$ROOT/etc/larder/larder.yaml" "$T/right.yaml"
echo 'listen: nowhere' >"$ROOT/etc/larder/larder.yaml"
inside systemctl kill -s HUP larder
wait_for 10 "an error in the journal" journal_tells 'SIGHUP: all stays as it was' -p err..err
cat "$T/right.yaml" >"$ROOT/etc/larder/larder.yaml"

say "upgraded: what is held and what was configured stays"
dpkg-deb -R "$DEB" "$T/next"
sed -i 's/^Version: .*/Version: 99.0/' "$T/next/DEBIAN/control"
echo "# a newer default" >>"$T/next/etc/larder/larder.yaml"
dpkg-deb -b "$T/next" "$ROOT/root/next.deb" >/dev/null
before=$(larder_pid)
inside dpkg --force-confold -i /root/next.deb >>"$T/dpkg.log" 2>&1 || fail "the upgrade fails: $(tail -n 3 "$T/dpkg.log")"
wait_for 30 "the service being active" is_active
[ "$(larder_pid)" != "$before" ] || fail "the upgrade did not restart larder"
grep -q 127.0.0.1:5100 "$ROOT/etc/larder/larder.yaml" || fail "the upgrade lost the configuration"
pull_by_docker

say "started by its socket"
inside systemctl stop larder
inside systemctl start larder.socket
! is_active || fail "larder runs although nobody asked"
pull_by_docker
is_active || fail "the socket did not start larder"
inside systemctl stop larder.socket

say "what the unit gives away"
level=$(systemd-analyze security --offline=true "$E2E_SOURCE/deploy/larder.service" 2>/dev/null |
  sed -n 's/.*Overall exposure level for .*: \([0-9.]*\) .*/\1/p')
awk -v level="${level:-9}" 'BEGIN { exit !(level <= 2.0) }' || fail "systemd-analyze security says $level"

say "removed: the store stays"
inside systemctl enable -q larder.socket
inside dpkg -r larder >>"$T/dpkg.log" 2>&1
! is_active || fail "larder still runs"
[ -e "$ROOT/var/lib/larder/VERSION" ] || fail "the removal took the store"

say "installed once more: it goes on with what it held"
inside dpkg --force-confold -i /root/next.deb >>"$T/dpkg.log" 2>&1 || fail "the package is not installed: $(tail -n 3 "$T/dpkg.log")"
wait_for 30 "the service being active" is_active
grep -q 127.0.0.1:5100 "$ROOT/etc/larder/larder.yaml" || fail "the removal lost the configuration"
pull_by_docker

say "purged: nothing stays"
inside dpkg -P larder >>"$T/dpkg.log" 2>&1
left=$(cd "$ROOT" && find etc usr var/lib -name '*larder*' -not -path 'var/lib/apt/*' -not -path 'usr/share/doc/*')
[ -z "$left" ] || fail "the purge left $left"
