// Package pacmanrepo reads what pacman reads: its configuration, its databases, its packages and its keys; and writes
// the database of a repository. Formats are those of pacman.conf(5), repo-add(8), PKGBUILD(5) and pacman-key(8).
package pacmanrepo
