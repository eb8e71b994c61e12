#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The completion scripts below the build tree $2: the shells read them, and complete what the table of commands says.
set -euo pipefail
build=${2:?is the build tree}
scripts=$build/completions
wrong=0

# expect SHELL LINE WORDS ACTUAL
expect() {
  [ "$3" = "$4" ] && return
  echo "$1: '$2' gives '$4', not '$3'"
  wrong=1
}

# bash_gives LINE…: what the words' last one is completed to.
bash_gives() {
  bash -c 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
    _larder 2>/dev/null; printf "%s\n" "${COMPREPLY[@]}"' "$scripts/larder" "$@" | sort | xargs
}

fish_gives() {
  HOME=$build fish --no-config -c "source $scripts/larder.fish; complete -C '$*'" | cut -f1 | sort | xargs
}

bash -n "$scripts/larder"
expect bash 'larder stat' status "$(bash_gives larder stat)"
expect bash 'larder serve --log-' '--log-format --log-level' "$(bash_gives larder serve --log-)"
expect bash 'larder serve --log-format' 'json text' "$(bash_gives larder serve --log-format '')"
expect bash 'larder config ' 'check keys show' "$(bash_gives larder config '')"
expect bash 'larder serve -c' "$scripts/larder.fish" "$(bash_gives larder serve -c "$scripts/larder.")"
expect bash 'larder nothing ' '' "$(bash_gives larder nothing '')"

if command -v fish >/dev/null; then
  fish --no-execute "$scripts/larder.fish"
  expect fish 'larder stat' status "$(fish_gives 'larder stat')"
  expect fish 'larder serve --log-' '--log-format --log-level' "$(fish_gives 'larder serve --log-')"
  expect fish 'larder serve --log-format' 'json text' "$(fish_gives 'larder serve --log-format ')"
  expect fish 'larder config ' 'check keys show' "$(fish_gives 'larder config ')"
else
  echo "skipped: fish, as it is not installed"
fi

# zsh_offers LINE PATTERN: an interactive zsh, asked by the tabulator key, shows it.
zsh_offers() {
  # shellcheck disable=SC2016 # for zsh to expand
  timeout 20 zsh -f -c 'zmodload zsh/zpty
    zpty shell "TERM=dumb zsh -f -i"
    zpty -w shell "fpath=($1 \$fpath); autoload -Uz compinit; compinit -u -D; LISTMAX=1000; echo read""y"
    zpty -r -m shell said "*ready*"
    zpty -w -n shell "$2"$'"'\\t\\t'"'
    zpty -r -m shell said "*$3*"' zsh "$scripts" "$1" "$2" || {
    echo "zsh: '$1' does not offer $2"
    wrong=1
  }
}

if command -v zsh >/dev/null; then
  zsh -n "$scripts/_larder"
  zsh_offers 'larder stat' 'status '
  zsh_offers 'larder serve --log-' --log-level
  zsh_offers 'larder serve --log-format=' json
  zsh_offers 'larder config ' keys
else
  echo "skipped: zsh, as it is not installed"
fi
exit "$wrong"
