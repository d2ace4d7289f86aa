#!/bin/sh
# Opens the notebooks in JupyterLab: sh start.sh
cd "$(dirname "$0")" || exit 1
if [ ! -x .venv/bin/jupyter ]; then
  echo "start: expected an installed HematoVision, but there is none here: sh install.sh" >&2
  exit 1
fi
exec .venv/bin/jupyter lab --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks "$@"
