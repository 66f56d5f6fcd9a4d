#!/usr/bin/env bash
# A Milvus standalone server on this machine, for trying out `milvus://` addresses and for tests. Linux on x86-64.
#
#   scripts/milvus_server.sh start  [DIR]     prints the address, as milvus://127.0.0.1:19530
#   scripts/milvus_server.sh stop   [DIR]
#   scripts/milvus_server.sh status [DIR]     prints the address and ends with 0, or ends with 3 when it is not running
#
# DIR (.milvus beside the checkout) holds the server's data, logs, configuration and pid file.
# MILVUS_PORT: the port; without it 19530 or the next one that is free.
# MILVUS_OPTIONS: settings of the server, as "authorization_enabled=true tls_mode=1 server_pem_path=/x/server.pem".
# HISTOSEEK_MILVUS_VENV (.venv-milvus beside the checkout): the environment that the PyPI package milvus==2.3.5 gets.
#
# The server cannot be told to listen on loopback alone: Milvus binds every address of the machine, without a password
# unless authorization_enabled is set. Run it where no stranger reaches the machine, or behind a firewall.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
verb="${1:-}"
dir="${2:-$root/.milvus}"
venv="${HISTOSEEK_MILVUS_VENV:-$root/.venv-milvus}"
python="${HISTOSEEK_MILVUS_PYTHON:-python3}"
pid_file="$dir/milvus.pid"

say() { printf '%s\n' "$*" >&2; }

running() { # whether the pid file names a Milvus that lives; pids are given to other programs after a restart
  [[ -s "$pid_file" ]] || return 1
  local pid
  pid="$(<"$pid_file")"
  [[ "$pid" =~ ^[0-9]+$ ]] && kill -0 "$pid" 2>/dev/null || return 1
  [[ "$(readlink "/proc/$pid/exe" 2>/dev/null)" == "$venv/server/bin/milvus"* ]]
}

check_machine() {
  if [[ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]]; then
    say "the package milvus==2.3.5 carries a server for Linux on x86-64 only, and this is $(uname -s) on $(uname -m)"
    exit 4
  fi
}

install_server() { # its old pins clash with Histoseek's own packages
  exec 8>"$venv.lock"
  flock 8
  [[ -e "$venv/ready" ]] && return
  say "installing milvus==2.3.5 into $venv"
  "$python" -m venv "$venv"
  if ! "$venv/bin/python" -m pip install -q --disable-pip-version-check \
    "milvus==2.3.5" "setuptools<80" "marshmallow<4" "numpy<2" >&2; then
    say "milvus==2.3.5 cannot be installed"
    exit 4
  fi
  touch "$venv/ready"
}

prepare() { # unpack the server, choose ports, write the configuration; prints "PORT HEALTH_PORT"
  "$venv/bin/python" - "$dir" "$venv/server" <<'PY'
import os
import pathlib
import sys

import milvus

folder, unpacked = sys.argv[1:]
milvus._initialize_data_files(unpacked)
port = os.environ.get("MILVUS_PORT")
given = dict(option.split("=", 1) for option in os.environ.get("MILVUS_OPTIONS", "").split())
config = milvus.MilvusServerConfig(data_dir=folder, **({"proxy_port": port} if port else {}))
kinds = {bool: lambda text: text.lower() == "true", int: int, str: str}
quick = {  # a machine of one person: no need to wait as a cluster does
    "queryCoord.checkInterval": 100,
    "queryCoord.distPullInterval": 50,
    "proxy.timeTickInterval": 50,
    "common.gracefulStopTimeout": 5,
    "common.session.ttl": 5,
}
for key, value in {"log.level": "warn", **quick, **given}.items():
    config.set(key, kinds[config.get_type(key)](value) if key in config.configurable_items else value)
try:
    config.resolve()
except RuntimeError as error:
    sys.exit(f"port {port} is taken ({error}); choose another MILVUS_PORT")
ports = {}
for name, first in (("health", 9091), ("etcd", 2379), ("peer", 2379)):
    ports[name], config.listen_ports[name] = (found := config.resolve_port(first))[0], found
config.cleanup_listen_ports()
# The etcd inside knows its own ports from a file of its own only; by default a second server would find them taken.
folder = pathlib.Path(folder, "configs")
client, peer = (f"http://127.0.0.1:{ports[name]}" for name in ("etcd", "peer"))
(folder / "etcd.yaml").write_text(
    f"name: default\nlisten-client-urls: {client}\nadvertise-client-urls: {client}\nlisten-peer-urls: {peer}\n"
    f"initial-advertise-peer-urls: {peer}\ninitial-cluster: default={peer}\n"
)
settings = (folder / "milvus.yaml").read_text()
settings = settings.replace("\netcd:\n", f"\netcd:\n  config:\n    path: {folder / 'etcd.yaml'}\n", 1)
(folder / "milvus.yaml").write_text(settings)
print(config.get("proxy_port"), ports["health"])
PY
}

start() {
  check_machine
  mkdir -p "$dir"
  dir="$(cd "$dir" && pwd)"
  exec 9>"$dir/lock" # two starts at once would fight for ports and data
  flock 9
  if running; then
    say "already running with pid $(<"$pid_file")"
    cat "$dir/address"
    return
  fi
  rm -f "$pid_file"
  install_server
  local ports port health pid
  ports="$(prepare)"
  read -r port health <<<"$ports"
  # A session of its own with nothing inherited: it outlives the caller and holds no pipe of it open.
  (
    cd "$dir"
    exec 8>&- 9>&- # else the server would hold the locks
    DEPLOY_MODE=STANDALONE METRICS_PORT="$health" MILVUS_RUN_DIR="$dir/run" MILVUSCONF="$dir/configs" \
      LD_LIBRARY_PATH="$venv/server/bin:${LD_LIBRARY_PATH:-}" \
      setsid nohup "$venv/server/bin/milvus" run standalone >"$dir/logs/server.log" 2>&1 </dev/null &
    echo $! >"$pid_file"
  )
  pid="$(<"$pid_file")"
  for _ in $(seq 900); do
    if ! kill -0 "$pid" 2>/dev/null; then
      say "the server ended while starting; its last words in $dir/logs/server.log:"
      tail -n 5 "$dir/logs/server.log" >&2
      exit 1
    fi
    if "$venv/bin/python" -c 'import sys, urllib.request as r
sys.exit("OK" not in r.urlopen(sys.argv[1], timeout=2).read().decode())' \
      "http://127.0.0.1:$health/healthz" 2>/dev/null; then
      say "note: it listens on every address of this machine, not on loopback alone"
      echo "milvus://127.0.0.1:$port" | tee "$dir/address"
      return
    fi
    sleep 0.2
  done
  say "the server was not healthy after three minutes; see $dir/logs/server.log"
  stop
  exit 1
}

stop() {
  if ! running; then
    say "not running"
    rm -f "$pid_file"
    return
  fi
  local pid
  pid="$(<"$pid_file")"
  kill -TERM "$pid"
  for _ in $(seq 50); do
    running || break
    sleep 0.2
  done
  if running; then kill -KILL "$pid"; fi
  rm -f "$pid_file"
  say "stopped"
}

case "$verb" in
  start) start ;;
  stop) stop ;;
  status)
    if running; then cat "$dir/address"; else say "not running"; exit 3; fi
    ;;
  *)
    say "usage: scripts/milvus_server.sh start|stop|status [DIR]"
    exit 2
    ;;
esac
