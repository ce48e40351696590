/** Memory that two processes share: made by one, mapped by both; and memory that a process gives back. */
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "arguments.h"
#include "usbfs.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif

namespace {
/**
 * createMemory(bytes) → descriptor, or -errno. A memfd (memfd_create(2)) that closes on exec, is not executable where the kernel
 * knows how to say so (since 6.3), and whose size is sealed: whoever has it cannot take pages away under the feet of the others.
 */
Napi::Value CreateMemory(const Napi::CallbackInfo& info) {
  int bytes = 0;
  if (!ReadInt(info, 0, "bytes", &bytes)) return {};
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  int fd = memfd_create("rumpusb", kFlags | MFD_NOEXEC_SEAL);
  if (fd < 0 && errno == EINVAL) fd = memfd_create("rumpusb", kFlags);
  if (fd < 0) return Napi::Number::New(info.Env(), -errno);
  if (ftruncate(fd, bytes) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
    return Napi::Number::New(info.Env(), fd);
  const int error = errno;
  close(fd);
  return Napi::Number::New(info.Env(), -error);
}

/** mapMemory(fd, bytes) → ArrayBuffer, unmapped with it, or -errno. The descriptor may be closed afterwards. */
Napi::Value MapMemory(const Napi::CallbackInfo& info) {
  int fd = -1, bytes = 0;
  if (!ReadInt(info, 0, "fd", &fd) || !ReadInt(info, 1, "bytes", &bytes)) return {};
  const size_t length = static_cast<size_t>(bytes);
  void* memory = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return Napi::Number::New(info.Env(), -errno);
  return Napi::ArrayBuffer::New(info.Env(), memory, length,
                                [length](Napi::Env, void* mapped) { munmap(mapped, length); });
}

/** The program's own segments that are not written to: its pages are those of the file, and come back from there. */
int DropSegments(dl_phdr_info* program, size_t, void*) {
  const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  for (int i = 0; i < program->dlpi_phnum; i++) {
    const ElfW(Phdr)& segment = program->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
    const uintptr_t begin = (program->dlpi_addr + segment.p_vaddr) & ~(page - 1);
    const uintptr_t end = program->dlpi_addr + segment.p_vaddr + segment.p_memsz;
    madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }
  return 1;  // the program is the first; its libraries keep theirs
}

/** dropCode(): what of Node.js is not used from now on is not mapped any more; what is used is mapped again page by page. */
void DropCode(const Napi::CallbackInfo&) { dl_iterate_phdr(DropSegments, nullptr); }
}  // namespace

void DefineMemory(Napi::Env env, Napi::Object exports) {
  exports["createMemory"] = Napi::Function::New<CreateMemory>(env, "createMemory");
  exports["dropCode"] = Napi::Function::New<DropCode>(env, "dropCode");
  exports["mapMemory"] = Napi::Function::New<MapMemory>(env, "mapMemory");
}
