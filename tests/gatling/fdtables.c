// For LD_PRELOAD in a JVM, on a machine whose hard limit of descriptors is too low and cannot be raised. The limit applies to
// each table of descriptors. So every thread whose name starts with $FDTABLES gets a table of its own when the JVM names it.
// It changes no call for sockets.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int pthread_setname_np(pthread_t thread, const char *name) {
  static int (*real)(pthread_t, const char *);
  if (!real) real = (int (*)(pthread_t, const char *))dlsym(RTLD_NEXT, "pthread_setname_np");
  const char *prefix = getenv("FDTABLES");
  if (prefix && pthread_equal(thread, pthread_self()) && !strncmp(name, prefix, strlen(prefix)) && unshare(CLONE_FILES))
    perror("unshare");
  return real(thread, name);
}
