// The least that starting a container can cost: what the kernel asks for and nothing else, in C, without any library.
//
//   floor run UIDMAP GIDMAP LOWER UPPER WORK ROOT CMD...   CMD in new namespaces on an overlay mounted at ROOT
//   floor map UIDMAP GIDMAP CMD...                         CMD as root of a new user namespace, to work on its files
//
// A map is the words that newuidmap takes after the process id, in one argument. CMD is an absolute path.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void die(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	_exit(125);
}

// start_map starts newuidmap or newgidmap and returns its process id.
static pid_t start_map(const char *program, pid_t target, char *map)
{
	char pid[16];
	char *argv[32] = {(char *)program, pid};
	int argc = 2;
	pid_t child;

	snprintf(pid, sizeof pid, "%d", target);
	for (char *word = strtok(map, " "); word && argc < 31; word = strtok(NULL, " "))
		argv[argc++] = word;
	if ((errno = posix_spawnp(&child, program, NULL, NULL, argv, environ)))
		die(program);
	return child;
}

static int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			die("wait");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void bind_device(const char *name)
{
	char from[32], to[32];

	snprintf(from, sizeof from, "/dev/%s", name);
	snprintf(to, sizeof to, "dev/%s", name);
	int fd = open(to, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
	if (fd < 0)
		die(to);
	close(fd);
	if (mount(from, to, NULL, MS_BIND, NULL))
		die(to);
}

static void make_root(const char *lower, const char *upper, const char *work, const char *root)
{
	static const char *devices[] = {"null", "zero", "full", "random", "urandom", "tty"};
	char options[4096];

	if (snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s,userxattr", lower, upper, work) >= (int)sizeof options) {
		errno = E2BIG;
		die("overlay options");
	}
	if (mount("overlay", root, "overlay", 0, options))
		die("mount overlay");
	if (chdir(root))
		die(root);
	if (mount("proc", "proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL))
		die("mount proc");
	if (mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=65536k"))
		die("mount dev");
	for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
		bind_device(devices[i]);
	if (syscall(SYS_pivot_root, ".", "."))
		die("pivot_root");
	if (umount2(".", MNT_DETACH) || chdir("/"))
		die("leave the old root");
}

int main(int argc, char **argv)
{
	int run = argc > 8 && !strcmp(argv[1], "run");
	if (!run && !(argc > 4 && !strcmp(argv[1], "map"))) {
		fprintf(stderr, "usage: floor run UIDMAP GIDMAP LOWER UPPER WORK ROOT CMD... | floor map UIDMAP GIDMAP CMD...\n");
		return 64;
	}
	int mapped[2];
	if (pipe2(mapped, O_CLOEXEC))
		die("pipe");
	unsigned long flags = CLONE_NEWUSER | SIGCHLD;
	if (run)
		flags |= CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
	pid_t child = syscall(SYS_clone, flags, 0, 0, 0, 0);
	if (child < 0)
		die("clone");
	if (child == 0) {
		char go;
		close(mapped[1]);
		if (read(mapped[0], &go, 1) != 1)
			_exit(125);
		if (setresgid(0, 0, 0) || setresuid(0, 0, 0))
			die("become root");
		if (run)
			make_root(argv[4], argv[5], argv[6], argv[7]);
		char **cmd = argv + (run ? 8 : 4);
		execv(cmd[0], cmd);
		die(cmd[0]);
	}
	pid_t uids = start_map("newuidmap", child, argv[2]);
	pid_t gids = start_map("newgidmap", child, argv[3]);
	if (wait_for(uids) || wait_for(gids)) {
		kill(child, SIGKILL);
		return 125;
	}
	if (write(mapped[1], "", 1) != 1)
		die("let the child go on");
	return wait_for(child);
}
