#!/usr/bin/env bash
# Starts one machine's processes of a multi-node run; slurm.sh and ssh.sh run it on each, with the recipe and its flags.
# Environment:
#   NODES               machines
#   NODE_RANK           index of this one, 0 .. NODES-1 (under Slurm: SLURM_NODEID)
#   MAIN_ADDR           address of machine 0, MAIN_PORT a free port on it
#   PROCESSES_PER_NODE  processes per machine, one per GPU
#   CONFIG              accelerate configuration, multi_node.yaml by default
#   ACCELERATE          the accelerate command where it is not on PATH
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
exec "${ACCELERATE:-accelerate}" launch \
    --config_file "${CONFIG:-$here/multi_node.yaml}" \
    --num_machines "$NODES" \
    --machine_rank "${NODE_RANK:-$SLURM_NODEID}" \
    --num_processes "$((NODES * PROCESSES_PER_NODE))" \
    --main_process_ip "$MAIN_ADDR" \
    --main_process_port "$MAIN_PORT" \
    "$@"
