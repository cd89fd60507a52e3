/* SIGINT and SIGTERM as a descriptor: whoever follows a job takes them as the wish to detach. */
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "client/cli/cli.h"

static int signals = -1;
static bool terminated;

void view_catch_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    if (signals < 0)
        signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

bool view_interrupted(void)
{
    struct signalfd_siginfo info;
    if (signals < 0 || read(signals, &info, sizeof info) != sizeof info)
        return false;
    terminated |= info.ssi_signo == SIGTERM;
    return true;
}

bool view_terminated(void)
{
    return terminated;
}

int view_signal_fd(void)
{
    return signals;
}
