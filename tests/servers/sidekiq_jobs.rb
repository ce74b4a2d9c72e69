# A job that counts in Redis how often it was begun and done. As a program: COUNT LONGEST puts so many into the queue,
# each of 0 to LONGEST seconds.
require "sidekiq"

class Work
  include Sidekiq::Worker

  def perform(number, seconds)
    Sidekiq.redis { |redis| redis.incr("begun:#{number}") }
    sleep seconds
    Sidekiq.redis { |redis| redis.rpush("done", number) }
  end
end

if $PROGRAM_NAME == __FILE__
  count, longest = ARGV[0].to_i, ARGV[1].to_f
  chance = Random.new(20261125)
  Sidekiq::Client.push_bulk("class" => Work, "args" => (0...count).map { |number| [number, chance.rand(longest)] })
end
