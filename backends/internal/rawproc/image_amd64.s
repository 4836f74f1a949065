#include "textflag.h"

// The interpreter of an Image. It is not called: its instructions, which refer to no other symbol, are copied into the
// image, up to the two UD2 at its end. R12 is the op, see image.go for its fields.
TEXT ·interpreter(SB),NOSPLIT|NOFRAME,$0-0
	MOVQ	$0x410010, R12
next:
	MOVQ	0(R12), AX
	MOVQ	8(R12), DI
	MOVQ	(DI), DI
	MOVQ	16(R12), SI
	MOVQ	(SI), SI
	CMPQ	AX, $-1
	JEQ	failop
	MOVQ	24(R12), DX
	MOVQ	(DX), DX
	MOVQ	32(R12), R10
	MOVQ	(R10), R10
	MOVQ	40(R12), R8
	MOVQ	(R8), R8
	MOVQ	48(R12), R9
	MOVQ	(R9), R9
	SYSCALL
	CMPQ	AX, $0xfffffffffffff001
	JCC	failed
	MOVQ	56(R12), BX
	MOVQ	AX, (BX)
	ADDQ	64(R12), R12
	JMP	next
failed:
	NEGQ	AX
	CMPQ	AX, $4	// EINTR
	JEQ	next
	MOVQ	72(R12), BX
	MOVQ	AX, (BX)
	CMPQ	AX, 80(R12)
	JEQ	allowed
	CMPQ	AX, 88(R12)
	JEQ	allowed
	CMPQ	AX, 96(R12)
	JEQ	allowed
	CMPQ	AX, 104(R12)
	JEQ	allowed
	CMPQ	AX, 112(R12)
	JEQ	allowed
	CMPQ	AX, 120(R12)
	JEQ	allowed
	CMPQ	128(R12), $0	// any
	JNE	allowed
	JMP	report
failop:
	MOVQ	DI, AX
	TESTQ	AX, AX
	JNE	report
	MOVQ	SI, AX
	TESTQ	AX, AX
	JNE	report
	ADDQ	64(R12), R12
	JMP	next
report:
	MOVQ	144(R12), SI	// the label, with room for the errno before it
	MOVL	AX, (SI)
	MOVQ	152(R12), DX
	MOVQ	$0x410000, DI
	MOVQ	(DI), DI
	MOVQ	(DI), DI
	MOVQ	$1, AX	// write
	SYSCALL
	MOVQ	$125, DI
	MOVQ	$231, AX	// exit_group
	SYSCALL
allowed:
	ADDQ	136(R12), R12
	JMP	next
	BYTE $0x0f; BYTE $0x0b; BYTE $0x0f; BYTE $0x0b

// func interpreterAddress() unsafe.Pointer
TEXT ·interpreterAddress(SB),NOSPLIT,$0-8
	LEAQ	·interpreter(SB), AX
	MOVQ	AX, ret+0(FP)
	RET
