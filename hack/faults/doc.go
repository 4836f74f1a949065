// Package faults runs a command and lets one of its system calls fail, or the whole of it die there.
//
// # Vocabulary
//
// A point is a system call that changes a file system, on a file below one of the plan's directories, or the start of one
// of the plan's programs. Points are counted over all processes the command starts, in the order in which the kernel meets
// them, beginning with 1. An action is what happens at a point: see Action. The tree is the command with everything it has
// started; the supervisor is a process of its own above it, to which also those are left whose parents have ended.
//
// # How
//
// The supervisor starts a tracee, which gives itself a seccomp filter (seccomp(2), SECCOMP_FILTER_FLAG_NEW_LISTENER) and
// executes the command. The kernel hands each call that the filter names to the supervisor and lets its caller wait
// (seccomp_unotify(2)); what is no point goes on at once. Nothing below the tree can leave it: filters are inherited.
//
// # Without privileges
//
// Root, of the machine or of a user namespace, may install a filter as it is. Everybody else must first give up gaining
// privileges by executing files (PR_SET_NO_NEW_PRIVS), and then newuidmap and newgidmap fail, which are
// set-user-id programs. There, the supervisor, which has given up nothing, runs them in place of the tree when the tree
// executes them, with the arguments it wanted to give, and lets it execute true or false instead.
//
// # Invariants
//
// While the supervisor kills the tree it answers no call, so that nothing changes after the point. Run returns when the
// whole tree has ended: what outlived the command by more than a moment is killed, and counted.
package faults
