#!/usr/bin/env bash
# The built wheel, in an environment with the lowest versions that pyproject.toml allows, passes the tests too; and its
# statistics agree with packages that do not install beside the newest pandas.
# Warnings are not errors here: old libraries warn about each other.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/tools" && "$work/tools/bin/pip" install -q uv build
python3 -m venv "$work/low"
"$work/tools/bin/python" -m build -q --wheel -o "$work" .
install() { "$work/tools/bin/uv" pip install -q --python "$work/low/bin/python" "$@"; }
install --resolution lowest-direct -r pyproject.toml --extra sandbox --extra fonts
install --no-deps "$work"/*.whl
install 'pytest>=8' 'pytest-xdist>=3.6' 'moto[server]>=5' fsspec 'hypothesis>=6.100' 'polars>=1.20' 'openpyxl>=3.1' 'nbclient>=0.10' ipykernel 'ipywidgets>=8'
install lifelines statsmodels
cp -r tests docs README.md CHANGELOG.md pyproject.toml "$work"   # beside the wheel, not beside the source
cd "$work"
pytest() { "$work/low/bin/python" -m pytest -q -p no:cacheprovider -o filterwarnings=default -o testpaths=tests "$@"; }
pytest "$@"
pytest -m slow tests/metrics -k 'lifelines or statsmodels'
echo "lowest versions: passed"
