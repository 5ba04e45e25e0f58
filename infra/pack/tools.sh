#!/usr/bin/env bash
# Says in a sentence each what is missing on this machine before make can build:
#
#   infra/pack/tools.sh go node npm
#
# `podwatch preflight` has the same checks of tools and more, but make needs Go to
# build it. The oldest versions are in go.mod and in infra/local/package.json.
set -euo pipefail
cd "$(dirname "$0")/../.."
failed=0
problem() { echo "podwatch cannot be built here: $*" >&2; failed=1; }

# at_least VERSION WANTED compares major and minor numbers.
at_least() {
  local have=(${1//[!0-9]/ } 0) want=(${2//[!0-9]/ } 0)
  ((have[0] > want[0] || (have[0] == want[0] && have[1] >= want[1])))
}

# check NAME COMMAND WANTED CURE VERSION-COMMAND...
check() {
  local name=$1 command=$2 wanted=$3 cure=$4 version
  shift 4
  if ! command -v "$command" >/dev/null; then
    problem "$name is not installed: $cure"
  elif ! version=$("$command" "$@" 2>&1); then
    problem "$name does not run ($version): $cure"
  elif ! at_least "$version" "$wanted"; then
    problem "$name ${version#go} is too old: $cure"
  fi
}

engine() { sed -n "s/.*\"$1\": *\">=\([0-9.]*\)\".*/\1/p" infra/local/package.json; }

for tool; do
  case $tool in
    go) wanted=$(sed -n 's/^go //p' go.mod) && wanted=${wanted%.0}
      check Go "${GO:-go}" "$wanted" "install Go $wanted or newer (https://go.dev/dl), or name it with GO=..." env GOVERSION ;;
    node) check Node.js node "$(engine node)" "install Node.js $(engine node) or newer (https://nodejs.org)" --version ;;
    npm) check npm npm "$(engine npm)" "install npm $(engine npm) or newer, which comes with Node.js (https://nodejs.org)" --version ;;
  esac
done
folder=${TMPDIR:-/tmp}
if ! probe=$(mktemp "${folder%/}/podwatch.XXXXXX" 2>/dev/null); then
  problem "the temporary folder $folder is missing or cannot be written: make it, or name another one with TMPDIR"
else
  rm -f "$probe"
fi
if ! [ -w . ]; then
  problem "$PWD cannot be written by $(id -un): give it to that user (chown), or work in a copy of your own"
fi
exit $failed
