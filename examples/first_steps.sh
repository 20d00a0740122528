#!/bin/sh
# A newcomer's path on the command line: a folder to edit, a steering vector, a steered text.
# `sh examples/first_steps.sh [MODEL] [FOLDER]`
set -eu
model=${1:-microworld}
folder=${2:-my-experiment}
steerscope init "$folder"
cd "$folder"
steerscope lint pairs.jsonl
steerscope vectors -m "$model" -c pairs.jsonl -o mine.safetensors
steerscope steer -m "$model" --vector mine.safetensors --site resid_post.5 --dose 2 -n 24 \
    --prompt "One day, Clara went to the garden. Clara was sad."
