#include "textflag.h"

// func rawClone(flags, parentTid uintptr) (pid, errno uintptr)
//
// The child of a CLONE_VM|CLONE_VFORK clone runs on this very stack and overwrites the return address of the frame,
// so it is kept in a register while the parent is suspended.
TEXT ·rawClone(SB),NOSPLIT|NOFRAME,$0-32
	MOVQ	flags+0(FP), DI
	MOVQ	$0, SI
	MOVQ	parentTid+8(FP), DX
	MOVQ	$0, R10
	MOVQ	$0, R8
	MOVQ	$0, R9
	MOVQ	$56, AX	// clone
	POPQ	R12
	SYSCALL
	PUSHQ	R12
	CMPQ	AX, $0xfffffffffffff001
	JLS	ok
	MOVQ	$0, pid+16(FP)
	NEGQ	AX
	MOVQ	AX, errno+24(FP)
	RET
ok:
	MOVQ	AX, pid+16(FP)
	MOVQ	$0, errno+24(FP)
	RET

// func rawSpawn(flags, stack uintptr, childTid uintptr, fn, p unsafe.Pointer) (pid, errno uintptr)
TEXT ·rawSpawn(SB),NOSPLIT|NOFRAME,$0-56
	MOVQ	flags+0(FP), DI
	MOVQ	stack+8(FP), SI
	MOVQ	fn+24(FP), R12
	MOVQ	p+32(FP), R13
	MOVQ	$0, DX
	MOVQ	childTid+16(FP), R10
	MOVQ	$0, R8
	MOVQ	$0, R9
	MOVQ	$56, AX	// clone
	SYSCALL
	CMPQ	AX, $0xfffffffffffff001
	JLS	ok
	MOVQ	$0, pid+40(FP)
	NEGQ	AX
	MOVQ	AX, errno+48(FP)
	RET
ok:
	TESTQ	AX, AX
	JZ	child
	MOVQ	AX, pid+40(FP)
	MOVQ	$0, errno+48(FP)
	RET
child:
	// On the new stack. fn is Go code and takes its argument, like all Go code, in AX.
	XORPS	X15, X15
	MOVQ	R13, AX
	CALL	R12
	INT	$3
