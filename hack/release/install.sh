#!/bin/sh
# Installs Karapace below a directory, without root: ./install.sh [PREFIX], by default ~/.local. ./install.sh --remove [PREFIX] takes it out
# again; environments stay, until karapace destroy --all removes them before.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
remove=
if [ "${1:-}" = --remove ]; then
	remove=1
	shift
fi
prefix=${1:-$HOME/.local}
for f in $(cd "$here" && find bin share -type f); do
	if [ -n "$remove" ]; then
		rm -f "$prefix/$f"
		continue
	fi
	mkdir -p "$prefix/$(dirname "$f")"
	cp "$here/$f" "$prefix/$f.new"
	mv -f "$prefix/$f.new" "$prefix/$f" # whole at every moment, also while the one of before runs
done
[ -z "$remove" ] || exit 0
echo "installed below $prefix"
case :$PATH: in *:"$prefix/bin":*) ;; *) echo "put $prefix/bin into PATH" ;; esac
"$prefix/bin/karapace" --version
