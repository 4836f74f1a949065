#include "textflag.h"

// func rawClone(flags, parentTid, childTid uintptr) (pid, errno uintptr)
//
// The child of a CLONE_VM|CLONE_VFORK clone runs on this very stack and overwrites the return address of the frame,
// so it is kept in a register while the parent is suspended. A child of the child runs on it too, and when the child is
// killed meanwhile the parent is suspended no more: it waits here, touching no stack.
TEXT ·rawClone(SB),NOSPLIT|NOFRAME,$0-40
	MOVQ	flags+0(FP), DI
	MOVQ	$0, SI
	MOVQ	parentTid+8(FP), DX
	MOVQ	childTid+16(FP), R10
	MOVQ	$0, R8
	MOVQ	$0, R9
	MOVQ	$56, AX	// clone
	POPQ	R12
	SYSCALL
	TESTQ	AX, AX
	JEQ	back
	TESTQ	DX, DX
	JEQ	back
	MOVQ	AX, R9
	MOVQ	DX, R13
	MOVQ	R10, R8
wait:
	CMPL	0(R13), $0
	JEQ	waited
	MOVL	0(R8), DX
	TESTL	DX, DX
	JEQ	waited
	MOVQ	R8, DI
	MOVQ	$0, SI	// FUTEX_WAIT
	MOVQ	$0, R10
	MOVQ	$202, AX	// futex
	SYSCALL
	JMP	wait
waited:
	MOVQ	R9, AX
back:
	PUSHQ	R12
	CMPQ	AX, $0xfffffffffffff001
	JLS	ok
	MOVQ	$0, pid+24(FP)
	NEGQ	AX
	MOVQ	AX, errno+32(FP)
	RET
ok:
	MOVQ	AX, pid+24(FP)
	MOVQ	$0, errno+32(FP)
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
