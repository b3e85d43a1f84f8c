#!/usr/bin/env bash
# A recipe over several machines under Slurm; submit it from the repository, which must be on a shared disk:
#   sbatch --nodes 4 --gpus-per-node 8 accelerate_configs/launch/slurm.sh recipes/sft_llama3b.py --train_file data/train.csv ...
# The flags of sbatch win over the lines below. HF_TOKEN and the like come from your environment (sbatch exports it).
#SBATCH --job-name=dialsum
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=04:00:00
#SBATCH --output=%x-%j.log
set -euo pipefail
if [ $# -eq 0 ]; then
    echo "error: no recipe: sbatch accelerate_configs/launch/slurm.sh recipes/sft_llama3b.py [flags]" >&2
    exit 2
fi
MAIN_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MAIN_ADDR
export MAIN_PORT=${MAIN_PORT:-$((20000 + SLURM_JOB_ID % 10000))} # two jobs on one machine take different ports
export NODES=$SLURM_JOB_NUM_NODES
export PROCESSES_PER_NODE=${PROCESSES_PER_NODE:-$SLURM_GPUS_ON_NODE}
# one task per machine; --kill-on-bad-exit ends the job on every machine when it fails on one
exec srun --ntasks-per-node=1 --kill-on-bad-exit=1 --label bash accelerate_configs/launch/node.sh "$@"
