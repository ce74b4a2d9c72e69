# A Rack application: says which generation answers; /slow takes half a second. It cannot be loaded where there is a
# file named broken.
raise "this generation does not work" if File.exist?("broken")

run lambda { |env|
  sleep 0.5 if env["PATH_INFO"] == "/slow"
  [200, { "content-type" => "text/plain" }, ["generation #{ENV["GENERATION"]}, pid #{Process.pid}\n"]]
}
