#!/bin/sh
# A newcomer's path on the command line: one's own pairs, a steering vector, a steered text.
# `sh examples/first_steps.sh [MODEL] [SITE] [FOLDER]`, such as `smollm2 resid_post.15`; the default
# model is the bundled one. The site in the middle of a model is the one that `vectors` ends with.
set -eu
model=${1:-microworld}
site=${2:-resid_post.4}
folder=${3:-my-experiment}
mkdir -p "$folder"
cd "$folder"
cat > pairs.csv <<'PAIRS'
positive,negative
I went to the garden today. I feel happy.,I went to the garden today. I feel sad.
I went to the market today. I feel delighted.,I went to the market today. I feel miserable.
I went to the beach today. I feel cheerful.,I went to the beach today. I feel gloomy.
We sat in the kitchen. It was a wonderful evening.,We sat in the kitchen. It was a dreadful evening.
She read the letter and smiled with joy.,She read the letter and wept with grief.
They came home from the station full of hope.,They came home from the station full of despair.
The forest was bright and the birds were merry.,The forest was dark and the birds were mournful.
He talked of his job and laughed.,He talked of his job and sighed.
PAIRS
steerscope lint pairs.csv
steerscope vectors -m "$model" -c pairs.csv -o mine.safetensors
steerscope steer -m "$model" --vector mine.safetensors --site "$site" --dose 2 -n 24 \
    --prompt "We walked along the sea and talked about our lives."
