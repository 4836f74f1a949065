#include "textflag.h"

// The signal handler. It is called by the kernel with the signal in DI, on the signal stack, and may change any
// register, since the kernel restores them all.
TEXT forward<>(SB),NOSPLIT|NOFRAME,$0
	MOVL	DI, R8
	LEAQ	·targets(SB), R10
	MOVLQSX	(R10)(R8*4), DI
	TESTQ	DI, DI
	JNZ	known
	// Nobody yet: note it, then look again, since Aim sets the target before it reads the note.
	LEAQ	·pending(SB), R11
	MOVB	$1, AX
	XCHGB	AX, (R11)(R8*1)
	MOVLQSX	(R10)(R8*4), DI
	TESTQ	DI, DI
	JZ	done
known:
	MOVL	R8, SI
	CMPL	R8, $20	// SIGTSTP
	JNE	send
	MOVL	$19, SI	// SIGSTOP
send:
	MOVL	$62, AX	// kill
	SYSCALL
	CMPL	R8, $20
	JNE	done
	MOVL	$39, AX	// getpid
	SYSCALL
	MOVL	AX, DI
	MOVL	$19, SI
	MOVL	$62, AX
	SYSCALL
done:
	RET

TEXT restore<>(SB),NOSPLIT|NOFRAME,$0
	MOVL	$15, AX	// rt_sigreturn
	SYSCALL
	INT	$3

// func handler() uintptr
TEXT ·handler(SB),NOSPLIT,$0-8
	LEAQ	forward<>(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

// func restorer() uintptr
TEXT ·restorer(SB),NOSPLIT,$0-8
	LEAQ	restore<>(SB), AX
	MOVQ	AX, ret+0(FP)
	RET
