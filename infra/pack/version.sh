#!/usr/bin/env bash
# Prints the version and the commit of these sources, for the linker:
#
#   v1.2.0-3-g6be2f1c 6be2f1c0a9...
#
# The version is what git describes. A hash of what the executables are built from
# is added when these files differ from the commit, and takes its place where git
# is missing, refuses (a checkout of another user) or knows nothing (a tar ball).
set -euo pipefail
cd "$(dirname "$0")/../.."
export LC_ALL=C GIT_CEILING_DIRECTORIES
GIT_CEILING_DIRECTORIES=$(dirname "$(pwd -P)") # no repository around a tar ball

sha256=(sha256sum)
command -v sha256sum >/dev/null || sha256=(shasum -a 256) # macOS
hash() {
  find handler go.mod go.sum -type f ! -name '*_test.go' ! -path '*/testdata/*' -print0 |
    sort -z | xargs -0 "${sha256[@]}" | "${sha256[@]}" | cut -c1-12
}

commit=
if version=$(git describe --tags --always --dirty 2>/dev/null); then
  commit=$(git rev-parse HEAD)
  if [ -n "$(git ls-files --others --exclude-standard handler)" ]; then
    version=${version%-dirty}-dirty # a new file is in no commit either
  fi
  case $version in *-dirty) version=$version.$(hash) ;; esac
else
  version=source.$(hash)
fi
# A tag may have characters that mean something to a shell or to the linker.
printf '%s %s\n' "${version//[^A-Za-z0-9._+-]/_}" "$commit"
