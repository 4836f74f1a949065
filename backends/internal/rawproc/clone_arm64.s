#include "textflag.h"

// func rawClone(flags, parentTid uintptr) (pid, errno uintptr)
//
// The function is a leaf without a frame: the return address stays in the link register, which the child of a
// CLONE_VM|CLONE_VFORK clone, running on this very stack, cannot overwrite.
TEXT ·rawClone(SB),NOSPLIT|NOFRAME,$0-32
	MOVD	flags+0(FP), R0
	MOVD	$0, R1
	MOVD	parentTid+8(FP), R2
	MOVD	$0, R3
	MOVD	$0, R4
	MOVD	$0, R5
	MOVD	$220, R8	// clone
	SVC
	CMN	$4095, R0
	BCC	ok
	MOVD	ZR, pid+16(FP)
	NEG	R0, R0
	MOVD	R0, errno+24(FP)
	RET
ok:
	MOVD	R0, pid+16(FP)
	MOVD	ZR, errno+24(FP)
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
