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

// func rawSpawn(flags, stack uintptr, p *Program) (pid, errno uintptr)
TEXT ·rawSpawn(SB),NOSPLIT|NOFRAME,$0-40
	MOVD	flags+0(FP), R0
	MOVD	stack+8(FP), R1
	MOVD	p+16(FP), R9
	MOVD	$0, R2
	MOVD	$0, R3
	MOVD	$0, R4
	MOVD	$0, R5
	MOVD	$220, R8	// clone
	SVC
	CMN	$4095, R0
	BCC	ok
	MOVD	ZR, pid+24(FP)
	NEG	R0, R0
	MOVD	R0, errno+32(FP)
	RET
ok:
	CBZ	R0, child
	MOVD	R0, pid+24(FP)
	MOVD	ZR, errno+32(FP)
	RET
child:
	// On the new stack, which ends 64 bytes above RSP.
	MOVD	R9, 8(RSP)
	CALL	·execute(SB)
	BRK
