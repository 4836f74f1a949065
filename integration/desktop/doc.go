// Package desktop reads desktop entries of environments and writes those that start them from the host's menu (Desktop Entry
// Specification 1.5).
//
// What an environment holds is hostile: a file is read by a strict parser, and nothing of it is copied but known keys with
// values of their type. A command is taken apart into arguments and quoted anew behind Karapace's own. The entry on the
// host says itself whose it is: Owner reads that back, and nothing else records it.
package desktop
