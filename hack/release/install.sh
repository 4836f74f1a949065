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
service=share/dbus-1/services/org.karapace.Manager1.service
bash=share/bash-completion/completions/karapace
fish=share/fish/vendor_completions.d/karapace.fish

if [ -n "$remove" ]; then
	for f in $(cd "$here" && find bin share -type f) $service $bash $fish; do
		rm -f "$prefix/$f"
		dir=$(dirname "$f")
		while [ "$dir" != . ] && rmdir "$prefix/$dir" 2>/dev/null; do dir=$(dirname "$dir"); done
	done
	exit 0
fi
# put FILE takes what comes in: whole at every moment, also while the one of before runs
put() {
	mkdir -p "$prefix/$(dirname "$1")"
	cat >"$prefix/$1.new"
	chmod "$2" "$prefix/$1.new"
	mv -f "$prefix/$1.new" "$prefix/$1"
}
for f in $(cd "$here" && find bin share -type f); do
	mode=644
	[ ! -x "$here/$f" ] || mode=755
	put "$f" $mode <"$here/$f"
done
sed "/^SystemdService=/d; s|/usr/bin|$prefix/bin|" "$here/org.karapace.Manager1.service" | put $service 644
"$prefix/bin/karapace" completions bash | put $bash 644
"$prefix/bin/karapace" completions fish | put $fish 644
echo "installed below $prefix"
case :$PATH: in *:"$prefix/bin":*) ;; *) echo "put $prefix/bin into PATH" ;; esac
"$prefix/bin/karapace" --version
