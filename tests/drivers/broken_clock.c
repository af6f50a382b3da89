/* A wall clock that fails once, on the thread that PANIC_ON names, when the file PANIC_WHEN is there: what the standard
 * library takes for impossible, and panics on. Loaded before the daemon. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time)
{
    static int (*next)(clockid_t, struct timespec *);
    static int done;
    if (!next)
        next = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    const char *when = getenv("PANIC_WHEN"), *on = getenv("PANIC_ON");
    char name[16] = "";
    if (clock == CLOCK_REALTIME && when && on && prctl(PR_GET_NAME, name) == 0 && strcmp(name, on) == 0 &&
        access(when, F_OK) == 0 && __sync_bool_compare_and_swap(&done, 0, 1))
        return -1;
    return next(clock, time);
}
