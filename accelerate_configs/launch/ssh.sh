#!/usr/bin/env bash
# A recipe over several machines by plain ssh, from the first of them or any machine that can log in without a password:
#   HOSTS="node1 node2" accelerate_configs/launch/ssh.sh recipes/sft_llama3b.py --train_file data/train.csv ...
# The repository must be at the same path everywhere (WORKDIR, by default this one) and output_dir on a shared disk. Tokens
# are not sent: HF_TOKEN must be set on the machines. When one machine fails, the others are stopped.
# Environment: HOSTS, PROCESSES_PER_NODE (8), MAIN_ADDR (first host), MAIN_PORT (29500), WORKDIR, and node.sh's.
set -euo pipefail
if [ -z "${HOSTS:-}" ] || [ $# -eq 0 ]; then
    echo 'error: HOSTS="node1 node2" accelerate_configs/launch/ssh.sh recipes/sft_llama3b.py [flags]' >&2
    exit 2
fi
read -ra hosts <<<"$HOSTS"
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
settings=(
    NODES=${#hosts[@]}
    MAIN_ADDR="${MAIN_ADDR:-${hosts[0]}}"
    MAIN_PORT="${MAIN_PORT:-29500}"
    PROCESSES_PER_NODE="${PROCESSES_PER_NODE:-8}"
    ${CONFIG:+CONFIG="$CONFIG"}
    ${ACCELERATE:+ACCELERATE="$ACCELERATE"}
)
pids=()
stop() { kill "${pids[@]}" 2>/dev/null || true; }
trap stop EXIT
for rank in "${!hosts[@]}"; do
    remote=$(printf '%q ' exec env "${settings[@]}" NODE_RANK="$rank" bash accelerate_configs/launch/node.sh "$@")
    # -tt: the remote processes end when this ssh does
    ssh -tt -o BatchMode=yes "${hosts[$rank]}" "cd $(printf '%q' "${WORKDIR:-$PWD}") && $remote" </dev/null \
        > >(sed -u "s/^/[${hosts[$rank]}] /") 2>&1 &
    pids+=($!)
done
for _ in "${pids[@]}"; do
    wait -n || {
        status=$?
        echo "error: one of the machines failed (status $status); the others are being stopped" >&2
        exit "$status"
    }
done
