// Package registry talks to OCI registries: it finds and authorises, and leaves files to package fetch.
//
// # Vocabulary
//
// A registry is a host; a repository is a name there; a blob or a manifest is known by its digest, a manifest also by a
// tag, which can move. An artifact is an image manifest that holds something else than an image; one with a subject
// refers to another manifest, and the registry lists it among that manifest's referrers (OCI distribution specification
// 1.1, "Listing Referrers"), or the client does so below a tag made of the digest ("Referrers Tag Schema").
//
// # Life cycle
//
// A Client is for one repository and one command. What it reads goes through its Transport, by package fetch, into the
// vault: verified, resumed, bounded. What it writes is checked for first, so that a push that was interrupted goes on
// with the blobs that are not there.
//
// # Invariants
//
// Credentials go to the registry's own host, and to those hosts that grant its tokens: itself, the ones built in for
// the registries that are known to have another, and what the configuration names. They are added to each request when
// it leaves, never to one that was redirected elsewhere, and no answer of a server changes where they may go. A token
// that somebody else hands out anonymously is taken over https only. Where https is spoken, nothing goes on over http.
package registry
