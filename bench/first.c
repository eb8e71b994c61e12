/* SPDX-License-Identifier: Apache-2.0 */
/* From start to first answer: starts a server, asks it over and over until it answers 200, prints the milliseconds that
 * took, and ends it by SIGTERM.  usage: first PORT PATH COMMAND [ARGUMENT…] */
#include "base/clock.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAUSE_NS    200000L
#define PATIENCE_US ((uint64_t)20000000)

static bool ask(const struct sockaddr_in *address, const char *request)
{
	char answer[64] = "";
	struct timeval patience = {.tv_sec = 5};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool good = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 &&
		    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0 &&
		    send(fd, request, strlen(request), MSG_NOSIGNAL) > 0 &&
		    recv(fd, answer, sizeof(answer) - 1, 0) >= 12 && strncmp(answer + 8, " 200", 4) == 0;

	if (fd >= 0)
		close(fd);
	return good;
}

static pid_t start(char **command)
{
	pid_t pid = fork();

	if (pid == 0) {
		dup2(STDERR_FILENO, STDOUT_FILENO); /* our stdout is the result's */
		execvp(command[0], command);
		_exit(127);
	}
	return pid;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	char request[1024];
	uint64_t began, took;
	bool answered;
	pid_t pid;

	if (argc < 4) {
		fputs("usage: first PORT PATH COMMAND [ARGUMENT...]\n", stderr);
		return 2;
	}
	address.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\n\r\n",
		 argv[2], argv[1]);
	if (ask(&address, request)) {
		fputs("first: something answers there already\n", stderr);
		return 2;
	}
	began = clock_us();
	pid = start(argv + 3);
	if (pid < 0)
		return 2;
	while (!(answered = ask(&address, request)) && clock_us() - began < PATIENCE_US &&
	       waitpid(pid, NULL, WNOHANG) == 0)
		nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
	took = clock_us() - began;
	if (answered)
		printf("%.3f\n", (double)took / 1000);
	else
		fputs("first: no answer\n", stderr);
	kill(pid, SIGTERM);
	waitpid(pid, NULL, 0);
	return answered ? 0 : 1;
}
