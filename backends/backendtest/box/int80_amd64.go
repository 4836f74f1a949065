package main

// int80 makes a system call of i386 without arguments.
func int80(nr uintptr) int32
