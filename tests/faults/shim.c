/* Stands between a process and the file system: counts what is done to files below a folder and, at the N-th step, fails
 * with an error number, kills the process, or only keeps a record of everything. Loaded with LD_PRELOAD by tests alone.
 *
 * faults_arm(below, mode, at, error, log):
 *   mode 1 counts; 2 fails once at step N; 3 fails at step N and from then on wherever space is needed, as a full disk
 *   does; 4 kills with SIGKILL before step N; 5 writes every step and its bytes to the file `log`.
 * faults_count() says how many steps there were, faults_fired() whether the fault happened.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OFF, COUNT, ONCE, FULL, KILL, RECORD };
enum { WRITE = 1, CREATE, TRUNCATE, SYNC, RENAME, LINK, UNLINK, MKDIR, RMDIR, SYNC_FOLDER };

static int mode = OFF, error_number = 0, record = -1;
static long at = 0;
static volatile long steps = 0, fired = 0;
static char below[PATH_MAX];
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

#define NEXT(name) ({ static __typeof__(&name) found; if (!found) found = (__typeof__(&name))dlsym(RTLD_NEXT, #name); found; })

void faults_arm(const char *folder, int wanted, long step, int number, const char *log) {
    strncpy(below, folder, sizeof below - 1);
    steps = fired = 0;
    at = step;
    error_number = number;
    record = wanted == RECORD ? (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    mode = wanted;
}
long faults_count(void) { return steps; }
long faults_fired(void) { return fired; }

/* ------------------------------------------------------------ which file */

static int inside(const char *path) {
    size_t length = strlen(below);
    return strncmp(path, below, length) == 0 && (path[length] == '/' || path[length] == 0);
}
static int of_handle(int handle, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return inside(path);
}
static int of_name(int folder, const char *name, char *path) {
    char start[PATH_MAX] = "";
    if (name[0] == '/') snprintf(path, PATH_MAX, "%s", name);
    else {
        if (folder == AT_FDCWD) { if (!getcwd(start, sizeof start)) return 0; }
        else of_handle(folder, start);
        if ((size_t)snprintf(path, PATH_MAX, "%.2000s/%.2000s", start, name) >= PATH_MAX) return 0;
    }
    return inside(path);
}

/* ------------------------------------------------------------ what happens */

static int needs_space(int kind) { return kind == WRITE || kind == CREATE || kind == MKDIR || kind == LINK; }

/* Returns 0 to go on, or the number of the error to fail with. */
static int step(int kind) {
    int result = 0;
    long number = ++steps;
    if (mode == KILL && number == at) {
        fired = 1;
        syscall(SYS_kill, getpid(), SIGKILL);
        for (;;) pause();
    }
    /* Nothing is ever refused that only takes away. */
    if ((mode == ONCE || mode == FULL) && kind != UNLINK && kind != RMDIR) {
        if (number >= at && !fired) fired = 1, result = error_number;
        else if (mode == FULL && fired && needs_space(kind)) result = error_number;
    }
    return result;
}
struct head { uint32_t kind, path, other; uint64_t offset, length; } __attribute__((packed));

static void note(int kind, const char *path, const char *other, uint64_t offset, const void *bytes, uint64_t length) {
    if (mode != RECORD || record < 0) return;
    struct head head = {kind, strlen(path), strlen(other), offset, bytes ? length : 0};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)path, head.path}, {(void *)other, head.other},
                            {(void *)bytes, head.length}};
    size_t whole = sizeof head + head.path + head.other + head.length;
    char *all = malloc(whole), *to = all;
    for (int i = 0; i < 4; i++) { memcpy(to, parts[i].iov_base ? parts[i].iov_base : "", parts[i].iov_len); to += parts[i].iov_len; }
    for (size_t done = 0; done < whole;) {
        long n = syscall(SYS_write, record, all + done, whole - done);
        if (n <= 0) abort();
        done += n;
    }
    free(all);
}
#define ENTER char path[PATH_MAX], other[PATH_MAX]; (void)other; pthread_mutex_lock(&lock)
#define LEAVE(value) do { __typeof__(value) kept_ = (value); int saved_ = errno; pthread_mutex_unlock(&lock); errno = saved_; return kept_; } while (0)
#define REFUSED(kind) ({ int number_ = step(kind); if (number_) errno = number_; number_; })

static uint64_t place(int handle) {
    int flags = fcntl(handle, F_GETFL);
    struct stat found;
    if (flags & O_APPEND) return fstat(handle, &found) == 0 ? found.st_size : 0;
    return lseek(handle, 0, SEEK_CUR);
}

/* ------------------------------------------------------------ bytes */

ssize_t write(int handle, const void *bytes, size_t length) {
    if (mode == OFF) return NEXT(write)(handle, bytes, length);
    ENTER;
    if (!of_handle(handle, path)) LEAVE(NEXT(write)(handle, bytes, length));
    int before = fired;
    if (REFUSED(WRITE)) {
        /* A disk that fills up takes what still fits. */
        if (mode == FULL && !before && length > 1) LEAVE(NEXT(write)(handle, bytes, length / 2));
        LEAVE((ssize_t)-1);
    }
    uint64_t offset = mode == RECORD ? place(handle) : 0;
    ssize_t done = NEXT(write)(handle, bytes, length);
    if (done > 0) note(WRITE, path, "", offset, bytes, done);
    LEAVE(done);
}
static ssize_t placed(int handle, const void *bytes, size_t length, off_t offset) {
    return syscall(SYS_pwrite64, handle, bytes, length, offset);
}
ssize_t pwrite64(int handle, const void *bytes, size_t length, off64_t offset) {
    if (mode == OFF) return placed(handle, bytes, length, offset);
    ENTER;
    if (!of_handle(handle, path)) LEAVE(placed(handle, bytes, length, offset));
    int before = fired;
    if (REFUSED(WRITE)) {
        if (mode == FULL && !before && length > 1) LEAVE(placed(handle, bytes, length / 2, offset));
        LEAVE((ssize_t)-1);
    }
    ssize_t done = placed(handle, bytes, length, offset);
    if (done > 0) note(WRITE, path, "", offset, bytes, done);
    LEAVE(done);
}
ssize_t pwrite(int handle, const void *bytes, size_t length, off_t offset) { return pwrite64(handle, bytes, length, offset); }

ssize_t writev(int handle, const struct iovec *parts, int count) {
    if (mode == OFF) return NEXT(writev)(handle, parts, count);
    ssize_t all = 0;
    for (int i = 0; i < count; i++) {
        ssize_t done = parts[i].iov_len ? write(handle, parts[i].iov_base, parts[i].iov_len) : 0;
        if (done < 0) return all ? all : -1;
        all += done;
        if ((size_t)done < parts[i].iov_len) break;
    }
    return all;
}
ssize_t sendfile(int to, int from, off_t *offset, size_t length) {
    if (mode == OFF) return NEXT(sendfile)(to, from, offset, length);
    /* As a loop of reads and writes, so that the bytes are seen. */
    char block[1 << 16];
    size_t wanted = length < sizeof block ? length : sizeof block;
    ssize_t got = offset ? pread(from, block, wanted, *offset) : read(from, block, wanted);
    if (got <= 0) return got;
    ssize_t done = write(to, block, got);
    if (done > 0 && offset) *offset += done;
    return done;
}
ssize_t sendfile64(int to, int from, off64_t *offset, size_t length) { return sendfile(to, from, offset, length); }
ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t length, unsigned flags) {
    if (mode == OFF) return NEXT(copy_file_range)(from, a, to, b, length, flags);
    errno = EXDEV; /* the caller then copies in a way that is seen */
    return -1;
}
int ftruncate64(int handle, off64_t length) {
    if (mode == OFF) return (int)syscall(SYS_ftruncate, handle, length);
    ENTER;
    if (!of_handle(handle, path)) LEAVE((int)syscall(SYS_ftruncate, handle, length));
    if (REFUSED(TRUNCATE)) LEAVE(-1);
    int done = (int)syscall(SYS_ftruncate, handle, length);
    if (!done) note(TRUNCATE, path, "", length, NULL, 0);
    LEAVE(done);
}
int ftruncate(int handle, off_t length) { return ftruncate64(handle, length); }

/* What goes through C streams is seen when it leaves them. */
size_t fwrite(const void *bytes, size_t size, size_t count, FILE *stream) {
    if (mode == OFF || size == 0 || count == 0) return NEXT(fwrite)(bytes, size, count, stream);
    ENTER;
    if (fileno(stream) < 3 || !of_handle(fileno(stream), path)) LEAVE(NEXT(fwrite)(bytes, size, count, stream));
    if (REFUSED(WRITE)) LEAVE((size_t)0);
    uint64_t offset = ftell(stream);
    size_t done = NEXT(fwrite)(bytes, size, count, stream);
    note(WRITE, path, "", offset, bytes, done * size);
    LEAVE(done);
}
int fclose(FILE *stream) {
    if (mode == OFF) return NEXT(fclose)(stream);
    ENTER;
    int handle = fileno(stream);
    if (handle < 3 || !of_handle(handle, path) || (fcntl(handle, F_GETFL) & O_ACCMODE) == O_RDONLY) LEAVE(NEXT(fclose)(stream));
    int number = step(WRITE); /* the last bytes are written here */
    int done = NEXT(fclose)(stream);
    if (number) { errno = number; LEAVE(EOF); }
    LEAVE(done);
}

/* ------------------------------------------------------------ to the disk */

static int synced(int handle, long call) {
    if (mode == OFF) return (int)syscall(call, handle);
    ENTER;
    if (!of_handle(handle, path)) LEAVE((int)syscall(call, handle));
    if (REFUSED(SYNC)) LEAVE(-1);
    struct stat found;
    int folder = fstat(handle, &found) == 0 && S_ISDIR(found.st_mode);
    /* Nobody pulls the plug on a test: the order is kept, the waiting left out. */
    note(folder ? SYNC_FOLDER : SYNC, path, "", 0, NULL, 0);
    LEAVE(0);
}
int fsync(int handle) { return synced(handle, SYS_fsync); }
int fdatasync(int handle) { return synced(handle, SYS_fdatasync); }

/* ------------------------------------------------------------ names */

static int opened(int folder, const char *name, int flags, mode_t rights) {
    if (mode == OFF || !(flags & (O_CREAT | O_TRUNC))) return (int)syscall(SYS_openat, folder, name, flags, rights);
    ENTER;
    struct stat found;
    if (!of_name(folder, name, path)) LEAVE((int)syscall(SYS_openat, folder, name, flags, rights));
    int there = fstatat(folder, name, &found, 0) == 0;
    if (there && !(flags & O_TRUNC)) LEAVE((int)syscall(SYS_openat, folder, name, flags, rights));
    if (REFUSED(there ? TRUNCATE : CREATE)) LEAVE(-1);
    int done = (int)syscall(SYS_openat, folder, name, flags, rights);
    if (done >= 0) note(there ? TRUNCATE : CREATE, path, "", 0, NULL, 0);
    LEAVE(done);
}
#define RIGHTS mode_t rights = 0; if (flags & (O_CREAT | __O_TMPFILE)) { va_list more; va_start(more, flags); rights = va_arg(more, mode_t); va_end(more); }
int open(const char *name, int flags, ...) { RIGHTS return opened(AT_FDCWD, name, flags, rights); }
int open64(const char *name, int flags, ...) { RIGHTS return opened(AT_FDCWD, name, flags | O_LARGEFILE, rights); }
int openat(int folder, const char *name, int flags, ...) { RIGHTS return opened(folder, name, flags, rights); }
int openat64(int folder, const char *name, int flags, ...) { RIGHTS return opened(folder, name, flags | O_LARGEFILE, rights); }
int creat(const char *name, mode_t rights) { return opened(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, rights); }
int creat64(const char *name, mode_t rights) { return creat(name, rights); }

FILE *fopen64(const char *name, const char *how) {
    if (mode == OFF || how[0] == 'r') return NEXT(fopen64)(name, how);
    ENTER;
    struct stat found;
    if (!of_name(AT_FDCWD, name, path)) LEAVE(NEXT(fopen64)(name, how));
    int there = stat(name, &found) == 0, kind = there ? TRUNCATE : CREATE;
    if (REFUSED(kind)) LEAVE((FILE *)NULL);
    FILE *done = NEXT(fopen64)(name, how);
    if (done) note(kind, path, "", 0, NULL, 0);
    LEAVE(done);
}
FILE *fopen(const char *name, const char *how) { return fopen64(name, how); }

static int two(int kind, int from, const char *name, int to, const char *new_name, unsigned flags) {
    long (*call)(int, const char *, int, const char *, unsigned) = NULL;
    (void)call;
    if (mode == OFF) goto really;
    ENTER;
    int touched = of_name(from, name, path);
    touched |= of_name(to, new_name, other);
    if (!touched) { pthread_mutex_unlock(&lock); goto really; }
    if (REFUSED(kind)) LEAVE(-1);
    int done = (int)syscall(kind == LINK ? SYS_linkat : SYS_renameat2, from, name, to, new_name, flags);
    if (!done) note(kind, path, other, 0, NULL, 0);
    LEAVE(done);
really:
    return (int)syscall(kind == LINK ? SYS_linkat : SYS_renameat2, from, name, to, new_name, flags);
}
int rename(const char *name, const char *new_name) { return two(RENAME, AT_FDCWD, name, AT_FDCWD, new_name, 0); }
int renameat(int from, const char *name, int to, const char *new_name) { return two(RENAME, from, name, to, new_name, 0); }
int renameat2(int from, const char *name, int to, const char *new_name, unsigned flags) { return two(RENAME, from, name, to, new_name, flags); }
int link(const char *name, const char *new_name) { return two(LINK, AT_FDCWD, name, AT_FDCWD, new_name, 0); }
int linkat(int from, const char *name, int to, const char *new_name, int flags) { return two(LINK, from, name, to, new_name, flags); }

static int one(int kind, int folder, const char *name, long call, long extra) {
    if (mode == OFF) return (int)syscall(call, folder, name, extra);
    ENTER;
    if (!of_name(folder, name, path)) LEAVE((int)syscall(call, folder, name, extra));
    if (REFUSED(kind)) LEAVE(-1);
    int done = (int)syscall(call, folder, name, extra);
    if (!done) note(kind, path, "", 0, NULL, 0);
    LEAVE(done);
}
int unlinkat(int folder, const char *name, int flags) { return one(flags & AT_REMOVEDIR ? RMDIR : UNLINK, folder, name, SYS_unlinkat, flags); }
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }
int remove(const char *name) {
    struct stat found;
    return lstat(name, &found) == 0 && S_ISDIR(found.st_mode) ? rmdir(name) : unlink(name);
}
int mkdirat(int folder, const char *name, mode_t rights) { return one(MKDIR, folder, name, SYS_mkdirat, rights); }
int mkdir(const char *name, mode_t rights) { return mkdirat(AT_FDCWD, name, rights); }
