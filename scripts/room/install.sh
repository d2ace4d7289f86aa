#!/bin/sh
# Installs HematoVision from this folder alone, without a network: sh install.sh
cd "$(dirname "$0")" || exit 1
python=${PYTHON:-}
for version in @PYTHONS@; do
  [ -n "$python" ] || python=$(command -v "python$version")
done
[ -n "$python" ] || python=$(command -v python3)
if [ -z "$python" ]; then
  echo "install: expected Python @PYTHONS@, but there is none: install it, or say where it is, as" \
    "PYTHON=/opt/python/bin/python3 sh install.sh" >&2
  exit 1
fi
"$python" scripts/install.py || exit 1
echo
.venv/bin/hv doctor || exit 1
cat <<'END'

Installed. What to open next:
  book/index.html   in a browser: the pages of the lessons, with the quizzes
  sh start.sh       the notebooks, in JupyterLab
END
