#!/bin/bash
# svd as a Debian package under a real systemd: what vm-run runs in its machine, stage by stage; a stage before a reboot is `1`, after it
# `2`. /work has the packages, the app's files and a busybox. Each line of output is a sentence that was found true.
set -euo pipefail
fail() { echo "FAILED: $*" >&2; systemctl status 'svd@*' --no-pager -n 40 >&2 || true; journalctl -u svd@shop -n 40 --no-pager >&2 || true; exit 1; }
ok() { echo "ok: $*"; }
# until WHAT COMMAND…: looks again until it succeeds; emulated machines are slow.
until_() {
  local what=$1 end=$((SECONDS + 120))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || fail "not in time: $what"
    sleep 0.2
  done
}
pids() { svctl -a shop status --json | tr ',{' '\n\n' | sed -n 's/^"pid":\([0-9]*\)$/\1/p' | sort; }
keeper() { systemctl show -P MainPID svd@shop; }
get() { # the last line of the page, by nothing but bash
  (exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /index.html HTTP/1.0\r\n\r\n' >&3 && timeout 60 cat <&3 | tail -n 1)
}
descendants_gone() { for pid in "$@"; do ! [ -e "/proc/$pid" ] || return 1; done; }

stage_1() {
  dpkg -i /work/svd_1.deb
  getent group svd svd-read >/dev/null || fail 'no groups'
  ok 'the package installs and makes its groups'
  mkdir -p /etc/svd/shop
  cp /work/Procfile.toml /etc/svd/shop/
  systemctl enable --now svd@shop
  [ "$(systemctl show -P StatusText svd@shop)" = '2 of 2 ready' ] || fail "$(systemctl show -P StatusText svd@shop)"
  [ "$(get)" = hello ] || fail 'the app does not answer'
  ok 'start returns when all is ready, and the status says so'

  local before
  before=$(keeper; pids)
  dpkg -i /work/svd_2.deb
  if svctl upgrade --help >/dev/null 2>&1; then
    [ "$(readlink "/proc/$(keeper)/exe")" = /usr/bin/svd ] || fail "the keeper runs $(readlink "/proc/$(keeper)/exe")"
    [ "$(keeper; pids)" = "$before" ] || fail "other pids after the upgrade: $before / $(keeper; pids)"
    ok 'an upgrade of the package has svd become the new program, and no pid changes'
  fi
  [ "$(get)" = hello ] || fail 'the app does not answer after the upgrade'

  systemctl reload svd@shop
  [ "$(keeper; pids)" = "$before" ] || fail 'a reload of an unchanged config changed a pid'
  echo '[process.web]' >/etc/svd/shop/Procfile.toml
  ! systemctl reload svd@shop 2>/dev/null || fail 'a reload of a wrong config succeeded'
  [ "$(systemctl is-active svd@shop)" = active ] || fail 'a wrong config ended the unit'
  cp /work/Procfile.toml /etc/svd/shop/
  ok 'reload applies the config, and fails where that is refused'

  local old
  old=$(keeper)
  local tree
  tree=$(pids)
  kill -KILL "$old"
  # What they have accepted ends with them.
  until_ 'its processes are gone' descendants_gone $tree
  # Who comes now waits in the listener that systemd has stored.
  [ "$(get)" = hello ] || fail 'a connection was refused while svd was killed'
  until_ 'svd is started again' test "$(keeper)" != "$old"
  until_ 'all is up again' svctl -a shop health
  # shellcheck disable=SC2086
  descendants_gone $tree || fail "some outlived the keeper: $tree"
  [ "$(pgrep -cf 'busybox httpd')" = 1 ] || fail "several copies run: $(pgrep -af 'busybox httpd')"
  ok 'a killed keeper takes its tree with it, is started again once, and refuses nobody meanwhile'

  case $(svctl doctor --json) in
  *'"name":"oom","answer":"yes"'*)
    [ "$(cat "/proc/$(keeper)/oom_score_adj")" = -1000 ] || fail 'the keeper can be chosen by the oom killer'
    [ "$(cat "/proc/$(pgrep -f 'busybox httpd')/oom_score_adj")" = 0 ] || fail 'so is what it runs'
    ok 'the keeper is not chosen when memory runs out, as doctor says'
    ;;
  *'"name":"oom","answer":"no"'*) ok 'doctor says that the keeper cannot be spared here when memory runs out' ;;
  *) fail 'doctor says nothing of oom' ;;
  esac
}

stage_2() {
  until_ 'the app is up after the boot' get
  [ "$(systemctl is-active svd@shop)" = active ] || fail 'not active after the boot'
  ok 'it comes up again with the machine'
  local tree
  tree="$(keeper) $(pids)"
  systemctl stop svd@shop
  [ "$(systemctl show -P Result svd@shop)" = success ] || fail 'the stop did not succeed'
  # shellcheck disable=SC2086
  descendants_gone $tree || fail "left after the stop: $tree"
  ! get 2>/dev/null || fail 'somebody answers after the stop'
  ok 'stop ends all in order, and closes the port'
  systemctl start svd@shop
  dpkg --remove svd
  [ "$(pgrep -c svd || true)" = 0 ] || fail "$(pgrep -a svd)"
  ! pgrep -f 'busybox httpd' || fail 'the app outlived the package'
  [ -z "$(find /etc/systemd/system -name 'svd@*')" ] || fail 'links are left'
  [ ! -e /run/svd ] || fail '/run/svd is left'
  dpkg --purge svd
  [ ! -e /var/lib/svd ] || fail '/var/lib/svd is left'
  [ -z "$(find /usr -name '*svd*' -newer /work/busybox -not -path '/usr/share/doc/*')" ] || fail 'files are left below /usr'
  [ -e /etc/svd/shop/Procfile.toml ] || fail "the administrator's config is gone"
  ok 'removed and purged, nothing is left but the config'
}

"stage_$1"
