// The only other program of the emulated machine: runs one test with the serial line as its
// terminal, says how it ended, and switches the machine off. The test is the kernel's argument
// test=PROGRAM,ARGUMENT,...
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static char command_line[4096];

static void UseSerialLine(void) {
  const int line = open("/dev/ttyS0", O_RDWR);
  for (int fd = 0; fd < 3; ++fd) dup2(line, fd);
}

static int ReadCommandLine(void) {
  const int fd = open("/proc/cmdline", O_RDONLY);
  return fd >= 0 && read(fd, command_line, sizeof command_line - 1) > 0;
}

// Cuts what follows test= into the arguments of a program; a null pointer ends them.
static void FindTest(char** args, int max) {
  int count = 0;
  char* test = strstr(command_line, "test=");
  if (test != NULL) {
    test[strcspn(test, " \n")] = '\0';
    for (char* arg = strtok(test + strlen("test="), ","); arg != NULL && count < max;
         arg = strtok(NULL, ",")) {
      args[count++] = arg;
    }
  }
  args[count] = NULL;
}

static int RunTest(char** args) {
  const pid_t child = fork();
  if (child == 0) {
    execv(args[0], args);
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void SwitchOff(void) {
  tcdrain(1);
  if (iopl(3) == 0) {  // Bochs ends when this word is written to its port
    for (const char* c = "Shutdown"; *c != '\0'; ++c) outb((unsigned char)*c, 0x8900);
  }
  reboot(RB_POWER_OFF);
}

int main(void) {
  char* args[32];
  mkdir("/proc", 0755);
  mkdir("/dev", 0755);
  mount("proc", "/proc", "proc", 0, NULL);
  mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
  UseSerialLine();
  if (ReadCommandLine()) {
    FindTest(args, 31);
    if (args[0] != NULL) printf("INIT exit_code=%d\n", RunTest(args));
  }
  fflush(stdout);
  SwitchOff();
  return 0;
}
