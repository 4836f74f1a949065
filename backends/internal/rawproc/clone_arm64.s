#include "textflag.h"

// func rawClone(flags, parentTid, childTid uintptr) (pid, errno uintptr)
//
// The function is a leaf without a frame: the return address stays in the link register, which the child of a
// CLONE_VM|CLONE_VFORK clone, running on this very stack, cannot overwrite. A child of the child runs on it too, and when
// the child is killed meanwhile the parent is suspended no more: it waits here, touching no stack.
TEXT ·rawClone(SB),NOSPLIT|NOFRAME,$0-40
	MOVD	flags+0(FP), R0
	MOVD	$0, R1
	MOVD	parentTid+8(FP), R2
	MOVD	$0, R3
	MOVD	childTid+16(FP), R4
	MOVD	$0, R5
	MOVD	$220, R8	// clone
	SVC
	CBZ	R0, back
	CBZ	R2, back
	MOVD	R0, R9
	MOVD	R2, R10
	MOVD	R4, R11
wait:
	MOVWU	(R10), R2
	CBZ	R2, waited
	MOVWU	(R11), R2
	CBZ	R2, waited
	MOVD	R11, R0
	MOVD	$0, R1	// FUTEX_WAIT
	MOVD	$0, R3
	MOVD	$98, R8	// futex
	SVC
	B	wait
waited:
	MOVD	R9, R0
back:
	CMN	$4095, R0
	BCC	ok
	MOVD	ZR, pid+24(FP)
	NEG	R0, R0
	MOVD	R0, errno+32(FP)
	RET
ok:
	MOVD	R0, pid+24(FP)
	MOVD	ZR, errno+32(FP)
	RET

// func rawSpawn(flags, stack uintptr, childTid uintptr, fn, p unsafe.Pointer) (pid, errno uintptr)
TEXT ·rawSpawn(SB),NOSPLIT|NOFRAME,$0-56
	MOVD	flags+0(FP), R0
	MOVD	stack+8(FP), R1
	MOVD	fn+24(FP), R10
	MOVD	p+32(FP), R9
	MOVD	$0, R2
	MOVD	$0, R3
	MOVD	childTid+16(FP), R4
	MOVD	$0, R5
	MOVD	$220, R8	// clone
	SVC
	CMN	$4095, R0
	BCC	ok
	MOVD	ZR, pid+40(FP)
	NEG	R0, R0
	MOVD	R0, errno+48(FP)
	RET
ok:
	CBZ	R0, child
	MOVD	R0, pid+40(FP)
	MOVD	ZR, errno+48(FP)
	RET
child:
	// On the new stack. fn is Go code and takes its argument, like all Go code, in R0.
	MOVD	R9, R0
	CALL	(R10)
	BRK
