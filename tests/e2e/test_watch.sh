#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The alert rules and the dashboard: Prometheus takes the rules, its expressions and the dashboard's, and every metric that
# they name is one that larder has.
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
need promtool jq curl

RULES=$E2E_SOURCE/deploy/prometheus/alerts.yaml
BOARD=$E2E_SOURCE/deploy/grafana/larder.json
start larder "$LARDER" serve --listen 127.0.0.1:0 --admin 127.0.0.1:0 --store "$T/store"
wait_log larder 'listening on '
ADMIN=http://$(sed -n 's/.*admin API on \(127\.0\.0\.1:[0-9]*\).*/\1/p' "$T/larder.log" | head -n 1)
curl -fsS "$ADMIN/metrics" >"$T/metrics"
promtool check metrics <"$T/metrics" >"$T/said" 2>&1 || fail "Prometheus does not take the metrics: $(cat "$T/said")"

promtool check rules "$RULES" >"$T/said" 2>&1 || fail "Prometheus does not take the rules: $(cat "$T/said")"
# A dashboard's expressions, as if they were rules.
jq '{groups: [{name: "dashboard", rules: [.panels[].targets[] | {record: "x:y", expr: (.expr | gsub("\\$instance"; ".*"))}]}]}' \
  "$BOARD" >"$T/board.yaml"
promtool check rules "$T/board.yaml" >"$T/said" 2>&1 || grep -q 'duplicate rule' "$T/said" ||
  fail "Prometheus does not take the dashboard's expressions: $(cat "$T/said")"

cat "$RULES" "$BOARD" | grep -o 'larder_[a-z_]*' | sed 's/_bucket$//' | sort -u >"$T/named"
[ -s "$T/named" ] || fail "no metric is named"
while read -r metric; do
  grep -q "^# TYPE $metric " "$T/metrics" || fail "larder has no metric $metric"
done <"$T/named"
