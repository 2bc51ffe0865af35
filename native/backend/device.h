#pragma once
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>

#include "../kernels/dtype.h"
#include "backend.h"

namespace stockpot {

// What a device refused. `status` is a stockpot_status.
struct DeviceError : std::runtime_error {
  explicit DeviceError(const stockpot_failure& f);
  uint32_t status;
};

// One context of a backend, with errors as exceptions and memory that frees itself. All methods may
// be called from any thread.
class Device {
 public:
  Device(const stockpot_backend* backend, uint32_t index);
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  ~Device();

  // Memory of the device.
  class Memory {
   public:
    Memory() = default;
    Memory(Device& device, uint64_t bytes);
    Memory(Memory&& other) noexcept { *this = std::move(other); }
    Memory& operator=(Memory&& other) noexcept;
    ~Memory();
    uint64_t address() const { return address_; }

   private:
    Device* device_ = nullptr;
    uint64_t address_ = 0;
  };

  // Host memory that the device copies at full speed.
  class HostMemory {
   public:
    HostMemory() = default;
    HostMemory(Device& device, uint64_t bytes);
    HostMemory(HostMemory&& other) noexcept { *this = std::move(other); }
    HostMemory& operator=(HostMemory&& other) noexcept;
    ~HostMemory();
    uint8_t* data() const { return static_cast<uint8_t*>(data_); }

   private:
    Device* device_ = nullptr;
    void* data_ = nullptr;
  };

  class Event {
   public:
    Event() = default;
    explicit Event(Device& device);
    Event(Event&& other) noexcept { *this = std::move(other); }
    Event& operator=(Event&& other) noexcept;
    ~Event();
    void record(uint32_t stream) const;
    void wait() const;                 // the calling thread does
    void hold(uint32_t stream) const;  // the stream waits

   private:
    Device* device_ = nullptr;
    stockpot_event* event_ = nullptr;
  };

  class Plan {
   public:
    Plan() = default;
    Plan(Device& device, const stockpot_plan_spec& spec);
    Plan(Plan&& other) noexcept { *this = std::move(other); }
    Plan& operator=(Plan&& other) noexcept;
    ~Plan();
    void run(const double* weights, uint32_t stream) const;

   private:
    Device* device_ = nullptr;
    stockpot_plan* plan_ = nullptr;
  };

  // A network (backend.h); used by one thread at a time, on one stream.
  class Network {
   public:
    Network() = default;
    Network(Device& device, const stockpot_network_spec& spec);
    Network(Network&& other) noexcept { *this = std::move(other); }
    Network& operator=(Network&& other) noexcept;
    ~Network();
    // Of the device that a network of this spec takes.
    static stockpot_network_sizes sizes(Device& device, const stockpot_network_spec& spec);

    struct Weight {
      uint64_t address;
      DType dtype;
    };
    Weight weight(uint32_t i) const;
    // Addresses of float32; 0 where there is none.
    uint64_t gradient(uint32_t weight) const;
    uint64_t input_gradient(uint32_t input) const;

    void forward(const stockpot_network_input* inputs, uint32_t batch, uint64_t out,
                 uint32_t stream) const;
    void backward(const stockpot_network_input* inputs, uint32_t batch, uint64_t dout,
                  uint32_t stream) const;
    void zero_gradients(uint32_t stream) const;

   private:
    Device* device_ = nullptr;
    stockpot_network* network_ = nullptr;
  };

  // Whether the library has it.
  bool gathers() const;
  void gather(const stockpot_gather& rows, uint32_t stream);
  void copy_in(uint32_t stream, uint64_t to, const void* from, uint64_t bytes);
  void copy_out(uint32_t stream, void* to, uint64_t from, uint64_t bytes);
  void fill_zero(uint32_t stream, uint64_t to, uint64_t bytes);
  void synchronize();
  uint64_t free_memory();
  // Held by who puts a pass of a network on a stream, so that no other comes in between.
  std::mutex& passing() { return passing_; }

 private:
  std::mutex passing_;
  const stockpot_backend* backend_;
  stockpot_context* context_ = nullptr;
};

// Waits at its end for all that is under way, so that memory may go that it uses, also where
// something failed.
struct Settle {
  Device& device;
  ~Settle() {
    try {
      device.synchronize();
    } catch (const std::exception&) {
      // A device that failed does nothing more.
    }
  }
};

}  // namespace stockpot
