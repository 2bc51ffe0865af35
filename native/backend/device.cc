#include "device.h"

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <utility>

namespace stockpot {
namespace {

std::string gigabytes(uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f GB", static_cast<double>(bytes) / 1e9);
  return text;
}

std::string words(const stockpot_failure& f) {
  std::string message(f.message, strnlen(f.message, sizeof(f.message)));
  if (f.status == STOCKPOT_OUT_OF_MEMORY) {
    message +=
        " (asked for " + gigabytes(f.bytes_asked) + ", free are " + gigabytes(f.bytes_free) + ")";
  }
  return message;
}

void check(int status, const stockpot_failure& failure) {
  if (status) throw DeviceError(failure);
}

}  // namespace

DeviceError::DeviceError(const stockpot_failure& f)
    : std::runtime_error(words(f)), status(f.status) {}

Device::Device(const stockpot_backend* backend, uint32_t index) : backend_(backend) {
  stockpot_failure failure{};
  check(backend_->open(index, &context_, &failure), failure);
}

Device::~Device() { backend_->close(context_); }

Device::Memory::Memory(Device& device, uint64_t bytes) {
  stockpot_failure failure{};
  check(device.backend_->allocate(device.context_, bytes, &address_, &failure), failure);
  device_ = &device;
}
Device::Memory& Device::Memory::operator=(Memory&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(address_, other.address_);
  return *this;
}
Device::Memory::~Memory() {
  if (device_) device_->backend_->release(device_->context_, address_);
}

Device::HostMemory::HostMemory(Device& device, uint64_t bytes) {
  stockpot_failure failure{};
  check(device.backend_->allocate_host(device.context_, bytes, &data_, &failure), failure);
  device_ = &device;
}
Device::HostMemory& Device::HostMemory::operator=(HostMemory&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(data_, other.data_);
  return *this;
}
Device::HostMemory::~HostMemory() {
  if (device_) device_->backend_->release_host(device_->context_, data_);
}

Device::Event::Event(Device& device) {
  stockpot_failure failure{};
  check(device.backend_->event_create(device.context_, &event_, &failure), failure);
  device_ = &device;
}
Device::Event& Device::Event::operator=(Event&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(event_, other.event_);
  return *this;
}
Device::Event::~Event() {
  if (device_) device_->backend_->event_destroy(device_->context_, event_);
}
void Device::Event::record(uint32_t stream) const {
  stockpot_failure failure{};
  check(device_->backend_->event_record(device_->context_, event_, stream, &failure), failure);
}
void Device::Event::wait() const {
  stockpot_failure failure{};
  check(device_->backend_->event_wait(device_->context_, event_, &failure), failure);
}
void Device::Event::hold(uint32_t stream) const {
  stockpot_failure failure{};
  check(device_->backend_->stream_wait(device_->context_, stream, event_, &failure), failure);
}

Device::Plan::Plan(Device& device, const stockpot_plan_spec& spec) {
  stockpot_failure failure{};
  check(device.backend_->plan_create(device.context_, &spec, &plan_, &failure), failure);
  device_ = &device;
}
Device::Plan& Device::Plan::operator=(Plan&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(plan_, other.plan_);
  return *this;
}
Device::Plan::~Plan() {
  if (device_) device_->backend_->plan_destroy(device_->context_, plan_);
}
void Device::Plan::run(const double* weights, uint32_t stream) const {
  stockpot_failure failure{};
  check(device_->backend_->plan_run(device_->context_, plan_, weights, stream, &failure), failure);
}

namespace {

// Libraries of this version of the interface may come without networks.
void need_networks(const stockpot_backend& backend) {
  constexpr size_t kNeeded = offsetof(stockpot_backend, network_zero_gradients) +
                             sizeof(stockpot_backend::network_zero_gradients);
  if (backend.size >= kNeeded && backend.network_zero_gradients) return;
  stockpot_failure failure{};
  failure.status = STOCKPOT_INVALID;
  std::snprintf(failure.message, sizeof(failure.message),
                "the library of the device runs no networks");
  throw DeviceError(failure);
}

}  // namespace

Device::Network::Network(Device& device, const stockpot_network_spec& spec) {
  need_networks(*device.backend_);
  stockpot_failure failure{};
  check(device.backend_->network_create(device.context_, &spec, &network_, &failure), failure);
  device_ = &device;
}
Device::Network& Device::Network::operator=(Network&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(network_, other.network_);
  return *this;
}
Device::Network::~Network() {
  if (device_) device_->backend_->network_destroy(device_->context_, network_);
}
stockpot_network_sizes Device::Network::sizes(Device& device, const stockpot_network_spec& spec) {
  need_networks(*device.backend_);
  stockpot_failure failure{};
  stockpot_network_sizes found{};
  check(device.backend_->network_plan(device.context_, &spec, &found, &failure), failure);
  return found;
}
Device::Network::Weight Device::Network::weight(uint32_t i) const {
  stockpot_failure failure{};
  uint64_t address = 0;
  uint32_t dtype = 0;
  check(
      device_->backend_->network_weight(device_->context_, network_, i, &address, &dtype, &failure),
      failure);
  return {address, static_cast<DType>(dtype)};
}
uint64_t Device::Network::gradient(uint32_t weight) const {
  stockpot_failure failure{};
  uint64_t address = 0;
  check(
      device_->backend_->network_gradient(device_->context_, network_, weight, &address, &failure),
      failure);
  return address;
}
uint64_t Device::Network::input_gradient(uint32_t input) const {
  stockpot_failure failure{};
  uint64_t address = 0;
  check(device_->backend_->network_input_gradient(device_->context_, network_, input, &address,
                                                  &failure),
        failure);
  return address;
}
void Device::Network::forward(const stockpot_network_input* inputs, uint32_t batch, uint64_t out,
                              uint32_t stream) const {
  stockpot_failure failure{};
  check(device_->backend_->network_forward(device_->context_, network_, inputs, batch, out, stream,
                                           &failure),
        failure);
}
void Device::Network::backward(const stockpot_network_input* inputs, uint32_t batch, uint64_t dout,
                               uint32_t stream) const {
  stockpot_failure failure{};
  check(device_->backend_->network_backward(device_->context_, network_, inputs, batch, dout,
                                            stream, &failure),
        failure);
}
void Device::Network::zero_gradients(uint32_t stream) const {
  stockpot_failure failure{};
  check(device_->backend_->network_zero_gradients(device_->context_, network_, stream, &failure),
        failure);
}

bool Device::gathers() const {
  return backend_->size >= offsetof(stockpot_backend, gather) + sizeof(backend_->gather) &&
         backend_->gather;
}
void Device::gather(const stockpot_gather& rows, uint32_t stream) {
  stockpot_failure failure{};
  check(backend_->gather(context_, &rows, stream, &failure), failure);
}
void Device::copy_in(uint32_t stream, uint64_t to, const void* from, uint64_t bytes) {
  stockpot_failure failure{};
  check(backend_->copy_in(context_, stream, to, from, bytes, &failure), failure);
}
void Device::copy_out(uint32_t stream, void* to, uint64_t from, uint64_t bytes) {
  stockpot_failure failure{};
  check(backend_->copy_out(context_, stream, to, from, bytes, &failure), failure);
}
void Device::fill_zero(uint32_t stream, uint64_t to, uint64_t bytes) {
  stockpot_failure failure{};
  check(backend_->fill_zero(context_, stream, to, bytes, &failure), failure);
}
void Device::synchronize() {
  stockpot_failure failure{};
  check(backend_->synchronize(context_, &failure), failure);
}
uint64_t Device::free_memory() {
  stockpot_failure failure{};
  uint64_t free_bytes = 0, total = 0;
  check(backend_->memory(context_, &free_bytes, &total, &failure), failure);
  return free_bytes;
}

}  // namespace stockpot
